package cni

// InterimName is for the tests outside the package.
var InterimName = interimName
