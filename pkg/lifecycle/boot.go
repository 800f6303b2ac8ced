package lifecycle

import (
	"errors"
	"time"
)

// unfinishedFor is how long an entry's writer may take: a thousand times what
// it needs.
const unfinishedFor = time.Minute

// ForgetEarlierBoots removes the entries of containers of an earlier boot,
// whoever wrote them: none of them lives, and their process and cgroup may be
// another container's by now. Run directories are most often in memory, and
// then there are none. What cannot be read is left to who wrote it. What
// writers that were killed have left unfinished goes too.
func (m *Manager) ForgetEarlierBoots() error {
	entries, err := m.cfg.Registry.List()
	if err != nil {
		m.fail("registry", "entries are not usable", err)
	}
	errs := []error{m.cfg.Registry.RemoveUnfinished(unfinishedFor)}
	for _, c := range entries {
		if c.BootID != m.cfg.BootID {
			m.cfg.Log.Info("forgot a container of an earlier boot", "container", c.ID, "pod", c.Pod, "namespace", c.Namespace)
			errs = append(errs, m.Remove(c.ID))
		}
	}
	return errors.Join(errs...)
}
