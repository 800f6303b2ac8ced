package cni

import "context"

// Del detaches a container. It succeeds whatever is missing: the container's
// namespace, its record, the master, the agent. It never touches what another
// container has by now: addresses go by the container's id, routes by the
// claim on the address, links by the namespace's identity.
func Del(ctx context.Context, args *Args) error {
	c, err := begin(ctx, args)
	if err != nil {
		return err
	}
	defer c.close()
	lock, err := c.dir.LockAttachment(c.key, lockWait)
	if err != nil {
		return asCNI("wait for another call on this attachment", err)
	}
	defer func() { lock.Release(err != nil) }()
	rec, err := c.dir.Get(c.key)
	if err != nil {
		// Not found, or not readable: what the call itself says has to do.
		rec = c.unknown()
	}
	err = asCNI("detach the container", c.takeBack(rec))
	return err
}
