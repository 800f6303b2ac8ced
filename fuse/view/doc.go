// Package view is what the view's server shows: it follows the registry,
// keeps for each container its cgroup's files, its counters and its load, and
// renders its files.
//
// It joins the pure renderers (fuse/procview, fuse/sysview), the cgroup reader
// and the registry to the file system server (fuse). It must not be used by a
// process that reads the mount itself.
package view
