package guest

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// order returns the files of the named modules, and of all that they need, in
// an order in which the kernel takes them. A module that is built into the
// kernel has no file. root is the directory of a kernel's modules, whose
// modules.dep is made by depmod on installation and is not there.
func order(root string, names []string) ([]string, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(root, "kernel"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[moduleName(name)] = path
		}
		return err
	})
	builtin, berr := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err := errors.Join(err, berr); err != nil {
		return nil, fmt.Errorf("list the kernel's modules: %w", err)
	}
	for line := range strings.Lines(string(builtin)) {
		files[moduleName(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko"))] = ""
	}
	var list []string
	done := make(map[string]bool)
	var add func(name string) error
	add = func(name string) error {
		path, known := files[moduleName(name)]
		switch {
		case !known:
			return fmt.Errorf("the kernel has no module %s", name)
		case path == "" || done[path]:
			return nil
		}
		done[path] = true
		needs, err := needed(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return fmt.Errorf("%w, which %s needs", err, name)
			}
		}
		list = append(list, path)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// moduleName is a module's name in the kernel; its file may have dashes.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// needed returns the modules that the one at path is linked to.
func needed(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("read module %s: no .modinfo", path)
	}
	data, err := info.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	return depends(string(data)), nil
}

// depends reads the modules that a .modinfo, strings that end with NUL, names
// as needed.
func depends(modinfo string) (names []string) {
	for field := range strings.SplitSeq(modinfo, "\x00") {
		list, ok := strings.CutPrefix(field, "depends=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}
