package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

func absolute(v string) (string, error) {
	if !filepath.IsAbs(v) {
		return "", fmt.Errorf("%q is no absolute path: begin it with /", v)
	}
	return filepath.Clean(v), nil
}

func notEmpty(v string) (string, error) {
	if v == "" {
		return "", errors.New("it is empty: leave the key out to get the default")
	}
	return v, nil
}

func boolean(v string) (bool, error) {
	switch v {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is no boolean: write true or false", v)
}

func level(v string) (slog.Level, error) {
	switch v {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is no level: write debug, info, warn or error", v)
}

func address(v string) (string, error) {
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", fmt.Errorf("%q is no address: write host:port, for example 127.0.0.1:9464", v)
	}
	return v, nil
}

// validName is NRI's rule for the name of a plugin, as part of a file name.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func pluginName(v string) (string, error) {
	if !validName.MatchString(v) {
		return "", fmt.Errorf("%q is no plugin name: write letters, digits, '_', '.' and '-'", v)
	}
	return v, nil
}

func pluginIndex(v string) (string, error) {
	if len(v) != 2 || v[0] < '0' || v[0] > '9' || v[1] < '0' || v[1] > '9' {
		return "", fmt.Errorf(`%q is no plugin index: write two digits in quotes, for example "90"`, v)
	}
	return v, nil
}

// validNamespace is a DNS label (RFC 1123), as Kubernetes wants it.
var validNamespace = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func namespaces(list []string) ([]string, error) {
	for _, v := range list {
		if !validNamespace.MatchString(v) {
			return nil, fmt.Errorf("%q is no name of a namespace: patterns are not supported", v)
		}
	}
	return list, nil
}

func selector(v string) (labels.Selector, error) {
	s, err := labels.Parse(v)
	if err != nil {
		return nil, fmt.Errorf("%q is no label selector, such as app=web,tier!=cache: %w", v, err)
	}
	return s, nil
}

const (
	minFreshness = time.Millisecond
	maxFreshness = 10 * time.Second
)

func freshness(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < minFreshness || d > maxFreshness {
		return 0, fmt.Errorf("%q is no freshness: write a duration from %v to %v, for example 50ms", v, minFreshness, maxFreshness)
	}
	return d, nil
}
