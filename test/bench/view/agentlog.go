package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// An agentLog is the agent's log, read on from where it was last read.
type agentLog struct {
	path string
	at   int64
}

// next returns what was written since the last call.
func (l *agentLog) next() ([]byte, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, l.at, 1<<62))
	l.at += int64(len(data))
	return data, err
}

// skip leaves out what was written until now.
func (l *agentLog) skip() error {
	_, err := l.next()
	return err
}

// handled returns how long the agent took to answer for each container that it
// injected whole since the last call.
func (l *agentLog) handled() ([]time.Duration, error) {
	data, err := l.next()
	if err != nil {
		return nil, err
	}
	var ds []time.Duration
	for line := range bytes.Lines(data) {
		var entry struct {
			Message string `json:"msg"`
			Views   int    `json:"views"`
			Took    string `json:"took"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("agent's log: %w: %s", err, line)
		}
		if entry.Message != "container injected" {
			continue
		}
		took, err := time.ParseDuration(entry.Took)
		if err != nil || entry.Views == 0 {
			return nil, fmt.Errorf("agent's log: want a container with views and a time: %s", line)
		}
		ds = append(ds, took)
	}
	if len(ds) == 0 {
		return nil, errors.New("the agent's log tells of no container")
	}
	return ds, nil
}
