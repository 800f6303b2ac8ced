package main

import (
	"errors"
	"fmt"
	"time"
)

// paced measures readers that come about once a second.
func (b *bench) paced(id string, lxcfs, viewd *server) (err error) {
	for _, kind := range []struct {
		what     string
		unsteady bool
		into     *[][]latency
	}{{"once a second", false, &b.steady}, {"after half a second to one and a half", true, &b.unsteady}} {
		fmt.Fprintf(b.stdout, "reading %s, %d times: all three at once\n", kind.what, b.samples)
		if *kind.into, err = b.slowReads(id, kind.unsteady, nil, lxcfs, viewd); err != nil {
			return err
		}
	}
	return nil
}

// slowReads runs one reader of each peer that reads about once a second, at the
// same time.
func (b *bench) slowReads(id string, unsteady bool, peers ...*server) ([][]latency, error) {
	out := make([][]latency, len(peers))
	errs := make(chan error, len(peers))
	for i, p := range peers {
		go func() {
			// Apart by a third of a second: no reader wakes the machine for another.
			time.Sleep(time.Duration(i) * 333 * time.Millisecond)
			var err error
			out[i], err = b.slowReader(id, unsteady, p)
			errs <- err
		}()
	}
	var err error
	for range peers {
		err = errors.Join(err, <-errs)
	}
	return out, err
}

func (b *bench) slowReader(id string, unsteady bool, peer *server) ([]latency, error) {
	r, err := b.startReader(peer, id, id)
	if err != nil {
		return nil, err
	}
	found, err := r.do(task{Files: files, Reads: b.samples, Every: time.Second, Unsteady: unsteady})
	if err != nil {
		return nil, err
	}
	out := make([]latency, len(files))
	for i, f := range files {
		out[i] = summarize(f, found[i].Took)
	}
	return out, r.close()
}
