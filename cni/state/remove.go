package state

import (
	"errors"
	"os"
)

// RemoveAll removes both directories, unless an attachment is recorded in them:
// to take that back, its DEL needs the record. Then nothing is removed, and the
// keys are returned.
func (d *Dir) RemoveAll() ([]Key, error) {
	networks, err := d.Networks()
	if err != nil {
		return nil, err
	}
	var recorded []Key
	for _, n := range networks {
		keys, err := d.List(n)
		if err != nil {
			return nil, err
		}
		recorded = append(recorded, keys...)
	}
	if len(recorded) > 0 {
		return recorded, nil
	}
	return nil, errors.Join(os.RemoveAll(d.Run), os.RemoveAll(d.State))
}
