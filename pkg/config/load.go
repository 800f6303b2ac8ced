package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// EnvFile names the configuration file in the environment.
const EnvFile = "TRUESIZE_CONFIG"

// Load returns the configuration: defaults, the file at path unless that is
// empty, then what lookup (os.LookupEnv) says, then flags, which holds the
// values of those that were given, by [Setting.Flag].
//
// Variables TRUESIZE_… that are no setting's are not looked at: Kubernetes
// makes such for any Service of that name.
func Load(path string, lookup func(string) (string, bool), flags map[string]string) (Config, error) {
	c := Default()
	var errs []error
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
		errs = append(errs, c.Apply(path, data))
	}
	for _, s := range Settings() {
		if v, set := lookup(s.Env); set {
			errs = append(errs, s.apply(&c, "variable "+s.Env, v))
		}
	}
	for _, s := range Settings() {
		if v, set := flags[s.Flag]; set && s.Flag != "" {
			errs = append(errs, s.apply(&c, "flag --"+s.Flag, v))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// apply sets a value given as one string.
func (s Setting) apply(c *Config, from, v string) error {
	values := []string{v}
	if s.list {
		values = strings.FieldsFunc(v, func(r rune) bool { return r == ',' })
	}
	if err := s.set(c, values); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}
