package cni

import (
	"context"
	"errors"
	"io/fs"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/cni/delegate"
	"github.com/truesize/truesize/cni/hostlocal"
	"github.com/truesize/truesize/cni/internal/flock"
	"github.com/truesize/truesize/cni/link"
	"github.com/truesize/truesize/cni/netns"
	"github.com/truesize/truesize/cni/state"
)

// Codes of our own, from the range that the specification leaves to plugins.
const (
	codeConflict = 100 // another host of the network has the address
	codeMAC      = 101 // another link of the master has the MAC
	codeMismatch = 102 // CHECK: what is there is not what ADD made
	codeAttached = 103 // ADD for an attachment that exists
)

// fail makes a CNI error; err may be nil.
func fail(code uint, msg string, err error) *types.Error {
	details := ""
	if err != nil {
		details = err.Error()
	}
	return types.NewError(code, msg, details)
}

// asCNI gives err the CNI code that fits and says what was being done; an
// error that has a code keeps it.
func asCNI(doing string, err error) error {
	if err == nil {
		return nil
	}
	var e *types.Error
	if errors.As(err, &e) {
		return e
	}
	return fail(codeOf(err), doing, err)
}

// codeOf is the code of the first known cause in err's tree.
func codeOf(err error) uint {
	for _, k := range []struct {
		cause error
		code  uint
	}{
		{context.Canceled, types.ErrTryAgainLater}, // a signal ended the call
		{flock.ErrBusy, types.ErrTryAgainLater},
		{hostlocal.ErrExhausted, types.ErrTryAgainLater},
		{hostlocal.ErrTaken, types.ErrTryAgainLater},
		{state.ErrClaimed, types.ErrTryAgainLater},
		{netlink.ErrDumpInterrupted, types.ErrTryAgainLater}, // the node's links and addresses change all the time
		{hostlocal.ErrNotInRange, types.ErrInvalidNetworkConfig},
		{link.ErrNotFound, types.ErrInvalidNetworkConfig},
		{link.ErrMasterBusy, types.ErrInvalidNetworkConfig},
		{link.ErrUnsupported, types.ErrInvalidNetworkConfig},
		{link.ErrExists, codeAttached},
		{link.ErrMACInUse, codeMAC},
		{netns.ErrNotExist, types.ErrUnknownContainer},
		{netns.ErrNotNS, types.ErrInvalidNetNS},
		{delegate.ErrNotFound, types.ErrInvalidNetworkConfig},
		{errConflict, codeConflict},
		{unix.ENOSPC, types.ErrIOFailure},
		{unix.EROFS, types.ErrIOFailure},
		{unix.EDQUOT, types.ErrIOFailure},
		{unix.EIO, types.ErrIOFailure},
	} {
		if errors.Is(err, k.cause) {
			return k.code
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return types.ErrIOFailure
	}
	return types.ErrInternal
}

// undo is what a call has made and has to take back if it fails, the latest
// first. Every step must bear that its object is gone already.
type undo []func()

func (u *undo) add(f func()) { *u = append(*u, f) }

func (u undo) run() {
	for i := len(u) - 1; i >= 0; i-- {
		u[i]()
	}
}
