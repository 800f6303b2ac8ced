package logs

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/truesize/truesize/pkg/logs/record"
)

// deploy/logs/logs.yaml is a valid configuration and spells out the default
// format.
func TestDeployedDefault(t *testing.T) {
	data, err := os.ReadFile("../../deploy/logs/logs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Logs Config `json:"logs"`
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		t.Fatal(err)
	}
	if err := file.Logs.Validate(); err != nil {
		t.Fatal(err)
	}
	want := record.Default()
	want.TimeLayout, want.TimeZone, want.Messages = "rfc3339milli", "UTC", "text"
	if got := file.Logs.Formats["default"]; !reflect.DeepEqual(got, want) {
		t.Errorf("the default format is\n%+v\nin the file\n%+v", want, got)
	}
}

// docs/logs.md names every field of the configuration and every source.
func TestDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(doc, name) {
				t.Errorf("docs/logs.md does not name the field %s of %s", name, typ)
			}
			walk(typ.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Config]())
	for name := range record.Sources() {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/logs.md does not name the source %s", name)
		}
	}
	for _, a := range []string{AnnotationLogs, AnnotationTopic, AnnotationFormat, AnnotationMultiline} {
		if !strings.Contains(doc, a) {
			t.Errorf("docs/logs.md does not name the annotation %s", a)
		}
	}
	for _, r := range []string{lossDeleted, lossGone, lossTruncated, lossUnreadable, lossRateLimit} {
		if !strings.Contains(doc, "`"+r+"`") {
			t.Errorf("docs/logs.md does not name the loss %s", r)
		}
	}
}
