package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/units"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/model/relabel"
)

// fieldsDoc is the page that lists every field, relative to this package.
const fieldsDoc = "../../docs/configuration-fields.md"

// fieldRow is a row of a table of that page.
type fieldRow struct {
	line      int
	byDefault string
	tests     []string
	text      string
}

var (
	fieldLine    = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) \\| (.*) \\| ([^|]*) \\|$")
	literal      = regexp.MustCompile("^`([^`]*)`")
	testName     = regexp.MustCompile(`^Test\w+$`)
	testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// readFields returns the rows of the page by heading and field.
func readFields(t *testing.T) map[string]map[string]fieldRow {
	t.Helper()
	text, err := os.ReadFile(fieldsDoc)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]map[string]fieldRow{}
	heading := ""
	for i, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			heading = name
			tables[heading] = map[string]fieldRow{}
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%s:%d: not a row of four cells", fieldsDoc, i+1)
			continue
		}
		if _, twice := tables[heading][m[1]]; twice {
			t.Errorf("%s:%d: %s is duplicate under %s", fieldsDoc, i+1, m[1], heading)
		}
		tables[heading][m[1]] = fieldRow{line: i + 1, byDefault: m[2], tests: strings.Split(m[4], ", "), text: m[3]}
	}
	return tables
}

// fieldTable is a heading of the page with a value that has its fields and their defaults.
type fieldTable struct {
	heading string
	of      any
	inherit any // the block to which "as global" refers, or nil
}

// loadedDefaults returns the tables with the defaults of a minimal file.
func loadedDefaults(t *testing.T) []fieldTable {
	t.Helper()
	t.Setenv("GOGC", "")
	if err := os.Unsetenv("GOGC"); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, Options{}, someRemote+"scrape_configs: [{job_name: a, static_configs: [{targets: []}], "+
		"kubernetes_sd_configs: [{role: pod}], file_sd_configs: [{files: [a.yml]}], "+
		"http_sd_configs: [{url: 'http://a'}]}]\n")
	job := cfg.Jobs[0]
	tables := []fieldTable{
		{"Top level", *cfg.Prometheus, nil},
		{"global", cfg.Prometheus.GlobalConfig, nil},
		{"runtime", cfg.Prometheus.Runtime, nil},
		{"scrape_configs", *job, cfg.Prometheus.GlobalConfig},
		{"Rules", relabel.DefaultRelabelConfig, nil},
		{"HTTP clients", job.HTTPClientConfig, nil},
		{"oauth2", commonconfig.OAuth2{}, nil},
		{"tls_config", job.HTTPClientConfig.TLSConfig, nil},
		{"remote_write", *cfg.RemoteWrite.Endpoints[0].RemoteWriteConfig, nil},
		{"static_configs", struct {
			// The keys that targetgroup.Group decodes. Its fields differ from them.
			Targets []string       `yaml:"targets"`
			Labels  model.LabelSet `yaml:"labels"`
		}{}, nil},
	}
	for _, sd := range job.ServiceDiscoveryConfigs {
		switch c := sd.(type) {
		case *kubernetes.SDConfig:
			tables = append(tables, fieldTable{"kubernetes_sd_configs", *c, nil})
		case *file.SDConfig:
			tables = append(tables, fieldTable{"file_sd_configs", *c, nil})
		case *http.SDConfig:
			tables = append(tables, fieldTable{"http_sd_configs", *c, nil})
		case discovery.StaticConfig:
		default:
			t.Errorf("no table for %s", sd.Name())
		}
	}
	return tables
}

// field is a field of the types.
type field struct {
	value reflect.Value // default value; invalid: below an absent block
}

// walkFields adds the fields of a struct to out, by key. known are the types with a table of their own.
func walkFields(v reflect.Value, typ reflect.Type, prefix string, known map[reflect.Type]bool, out map[string]field) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || tag == "-" {
			continue
		}
		value := reflect.Value{}
		if v.IsValid() {
			value = v.Field(i)
		}
		element, marks := f.Type, ""
		for element.Kind() == reflect.Pointer || element.Kind() == reflect.Map ||
			element.Kind() == reflect.Slice && element.Elem().Kind() != reflect.Uint8 {
			switch element.Kind() {
			case reflect.Slice:
				marks += "[]"
			case reflect.Map:
				marks += "{}"
				if element.Elem().Kind() != reflect.Struct { // a map of lists is a table all the same
					element = reflect.TypeFor[string]()
					continue
				}
			}
			element, value = element.Elem(), reflect.Indirect(value)
		}
		inline := strings.Contains(options, "inline")
		switch {
		case inline && known[element] && prefix == "":
			continue // described in its own table
		case inline && element.Kind() == reflect.Struct && marks == "":
			walkFields(value, element, prefix, known, out)
		case element.Kind() != reflect.Struct || known[element] || isOneValue(element):
			out[prefix+tag+marks] = field{value}
		case inline: // names of the user's own
			walkFields(reflect.Value{}, element, strings.TrimSuffix(prefix, ".")+marks+".", known, out)
		default:
			if marks != "" || !value.IsValid() || value.Kind() != reflect.Struct {
				value = reflect.Value{}
			}
			walkFields(value, element, prefix+tag+marks+".", known, out)
		}
	}
}

// isOneValue reports whether a struct is a single value in a file, or a block that the page does not describe.
func isOneValue(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[promconfig.AlertingConfig](), reflect.TypeFor[promconfig.StorageConfig](),
		reflect.TypeFor[promconfig.TracingConfig](),
		reflect.TypeFor[promconfig.OTLPConfig](), reflect.TypeFor[promconfig.RemoteReadConfig]():
		return true
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return false
		}
	}
	return true
}

// TestFieldTables compares the page with the types: an upgrade of Prometheus cannot add a field or change a default
// without a change of the page. Every row names an existing test.
func TestFieldTables(t *testing.T) {
	documented := readFields(t)
	tables := loadedDefaults(t)
	known := map[reflect.Type]bool{}
	for _, table := range tables {
		known[reflect.TypeOf(table.of)] = true
	}
	tests := testNames(t)
	for _, table := range tables {
		rows := documented[table.heading]
		delete(documented, table.heading)
		fields, inherited := map[string]field{}, map[string]field{}
		v := reflect.ValueOf(table.of)
		walkFields(v, v.Type(), "", known, fields)
		if table.inherit != nil {
			v := reflect.ValueOf(table.inherit)
			walkFields(v, v.Type(), "", known, inherited)
		}
		for name := range fields {
			if _, ok := rows[name]; !ok {
				t.Errorf("%s: %q has no row for %s", fieldsDoc, table.heading, name)
			}
		}
		for name, row := range rows {
			f, ok := fields[name]
			if !ok {
				t.Errorf("%s:%d: %s has no %s", fieldsDoc, row.line, table.heading, name)
				continue
			}
			if why := row.wrongDefault(f, inherited, name); why != "" {
				t.Errorf("%s:%d: default of %s: %s", fieldsDoc, row.line, name, why)
			}
			if row.text == "" {
				t.Errorf("%s:%d: %s has no description", fieldsDoc, row.line, name)
			}
			for _, test := range row.tests {
				if !testName.MatchString(test) || !tests[test] {
					t.Errorf("%s:%d: there is no test %q", fieldsDoc, row.line, test)
				}
			}
		}
	}
	for heading := range documented {
		t.Errorf("%s: no type for the table %q", fieldsDoc, heading)
	}
}

// TestDocumentedLimits compares the limits that both pages name with the defaults of a job.
func TestDocumentedLimits(t *testing.T) {
	job := reflect.ValueOf(*load(t, Options{}, someRemote+someJob).Jobs[0])
	known := map[string]field{}
	walkFields(job, job.Type(), "", map[reflect.Type]bool{}, known)
	global := readFields(t)["global"]
	guide, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range limits {
		value := shownDefault(known[l.key].value)
		if want := "default of jobs: `" + value + "`"; !strings.Contains(global[l.key].text, want) {
			t.Errorf("%s: global.%s does not say %q", fieldsDoc, l.key, want)
		}
		if want := fmt.Sprintf("| `%s` | `%s`", l.key, value); !strings.Contains(string(guide), want) {
			t.Errorf("configuration.md has no row %q", want)
		}
	}
}

// wrongDefault returns the difference between the default on the page and the actual one, or "".
func (r fieldRow) wrongDefault(f field, inherited map[string]field, name string) string {
	if m := literal.FindStringSubmatch(r.byDefault); m != nil {
		switch {
		case f.value.IsValid() && shownDefault(f.value) != m[1]:
			return fmt.Sprintf("%q, but the page says %q", shownDefault(f.value), m[1])
		case !f.value.IsValid() && m[1] != "false":
			return fmt.Sprintf("%q below an absent block", m[1])
		}
		return ""
	}
	switch r.byDefault {
	case "required", "negotiated":
		return ""
	case "–":
		if f.value.IsValid() && !f.value.IsZero() && shownDefault(f.value) != "" && !hasTable(f.value) {
			return fmt.Sprintf("%q, but the page has no default", shownDefault(f.value))
		}
		return ""
	case "as global", "as global, at most the interval":
		global, ok := inherited[name]
		if !ok {
			return "global has no such field"
		}
		if got, want := shownDefault(f.value), shownDefault(global.value); got != want && want != "" {
			return fmt.Sprintf("%q, but global has %q", got, want)
		}
		return ""
	}
	return fmt.Sprintf("%q is neither a value in backticks nor a known word", r.byDefault)
}

// hasTable reports whether a table of its own has the defaults.
func hasTable(v reflect.Value) bool { return v.Kind() == reflect.Struct || v.Kind() == reflect.Slice }

func shownDefault(v reflect.Value) string {
	v = reflect.Indirect(v)
	if !v.IsValid() {
		return ""
	}
	switch x := v.Interface().(type) {
	case units.Base2Bytes:
		return x.String()
	case relabel.Regexp:
		return x.String()
	}
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		if v.Len() == 0 {
			return ""
		}
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// testNames returns the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"testdata", "bin", "node_modules"}, d.Name()),
			d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
