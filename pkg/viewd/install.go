package viewd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// install copies a program to dir/<first 12 hex digits of its SHA-256>/, where
// the host has it too, and returns its path there. A copy is written once and
// never changed: a server may run from it.
func install(program, dir string) (string, error) {
	program, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	dir = filepath.Join(dir, hex.EncodeToString(sum[:6]))
	path := filepath.Join(dir, filepath.Base(program))
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := replace(path, data); err != nil {
		return "", fmt.Errorf("install %s: %w", path, err)
	}
	return path, nil
}

// replace writes a program whole or not at all.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new.*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// prune removes the copies in dir but those that hold one of the programs.
func prune(dir string, programs ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	keep := make(map[string]bool)
	for _, p := range programs {
		keep[filepath.Dir(p)] = true
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); !keep[path] {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}
