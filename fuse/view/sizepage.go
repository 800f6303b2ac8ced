package view

import (
	"errors"

	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/pkg/registry"
)

// publishLoads stores the load averages in the container's size page, where it
// has one. The shim takes sysinfo's from there: a function that reads no file
// must not begin to wait for this server. mu is held.
func (c *container) publishLoads() (err error) {
	page, err := c.v.reg.MapSizePage(c.id)
	if errors.Is(err, registry.ErrNotFound) {
		return nil // the container has no shim
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.Close()) }()
	defer guard(&err)()
	page.SetLoads(c.load.Averages(), procfs.SinceBoot())
	return nil
}
