package guest

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// libraryDirs are where the loader of a Debian machine looks.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"}

// Programs returns the files of the named programs of the node, found in its
// PATH, with the libraries they are linked to, at the paths they have here.
func Programs(names ...string) ([]File, error) {
	var files []File
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("a program for the machine: %w", err)
		}
		libs, err := Libraries(path)
		if err != nil {
			return nil, err
		}
		// The program may be a link, as awk is.
		files = append(append(files, File{Host: path, Guest: merged(path)}), libs...)
	}
	return files, nil
}

// Libraries returns the loader and the libraries of the program at path, none
// for a static one.
func Libraries(path string) ([]File, error) {
	var files []File
	done := make(map[string]bool)
	var add func(path string) error
	add = func(path string) error {
		names, loader, err := dynamic(path)
		if err != nil {
			return err
		}
		if loader != "" && !done[loader] {
			done[loader] = true
			files = append(files, File{Host: loader, Guest: merged(loader)})
		}
		for _, name := range names {
			if done[name] {
				continue
			}
			done[name] = true
			lib, err := findLibrary(name)
			if err != nil {
				return fmt.Errorf("%w, which %s needs", err, path)
			}
			files = append(files, File{Host: lib, Guest: merged(lib)})
			if err := add(lib); err != nil {
				return err
			}
		}
		return nil
	}
	return files, add(path)
}

// dynamic returns what a program or library is linked to, and the loader that
// it names.
func dynamic(path string) (libraries []string, loader string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("read program %s: %w", path, err)
	}
	defer f.Close()
	if libraries, err = f.ImportedLibraries(); err != nil {
		return nil, "", fmt.Errorf("read program %s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return nil, "", fmt.Errorf("read program %s: %w", path, err)
		}
		loader = strings.TrimRight(string(name), "\x00")
	}
	return libraries, loader, nil
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryDirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no library %s", name)
}

// topLinks are the directories that Debian has merged into /usr.
var topLinks = []string{"bin", "sbin", "lib", "lib64"}

// merged returns the path in the machine, where the directories of topLinks
// are links, as on the node.
func merged(path string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if slices.Contains(topLinks, top) {
		return "/usr" + path
	}
	return path
}

// Tree returns the regular files below a directory of the node, at the paths
// they have here.
func Tree(dir string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, File{Host: path, Guest: merged(path)})
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = errors.New("no files")
	}
	if err != nil {
		return nil, fmt.Errorf("files for the machine below %s: %w", dir, err)
	}
	return files, nil
}
