package config

import (
	"strings"
	"testing"
)

func TestSection(t *testing.T) {
	type kafka struct {
		Brokers []string `json:"brokers"`
	}
	type logs struct {
		Kafka  kafka  `json:"kafka"`
		Topic  string `json:"topic"`
		Number int    `json:"number"`
	}
	for _, test := range []struct{ name, text, want string }{
		{"good", "runDir: /r\nlogs:\n  topic: t\n  kafka: {brokers: [b]}\n", ""},
		{"unknown key", "logs:\n  topic: t\n  kafka:\n    broker: [b]\n", `f.yaml:4: logs…broker: is no key of the configuration`},
		{"twice", "logs:\n  topic: t\n  topic: u\n", `"topic" already defined at line 2`},
		{"wrong type", "logs:\n  topic: t\n  number: two\n", `f.yaml:3: logs…number: holds a string: write a value of type int`},
		{"no mapping", "logs: yes\n", `f.yaml:1: logs: holds the value "yes": write keys under it`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Default()
			err := c.Apply("f.yaml", []byte(test.text))
			var l logs
			if err == nil {
				err = c.Logs.Decode(&l)
			}
			if test.want == "" {
				if err != nil || l.Topic != "t" || len(l.Kafka.Brokers) != 1 {
					t.Fatalf("got %+v, %v", l, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
	var c Config
	if err := c.Apply("f.yaml", []byte("logs:\n")); err != nil || c.Logs != nil {
		t.Errorf("an empty section: %v, %v, want none", c.Logs, err)
	}
}
