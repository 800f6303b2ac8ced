// Package e2e tests log forwarding as it runs: the reader, a broker and the
// test are processes of their own, and any of them is killed at any time.
package e2e
