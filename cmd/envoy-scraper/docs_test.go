package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// theApp returns the command line of the program.
func theApp() *kingpin.Application {
	app := kingpin.New("envoy-scraper", "")
	newRunCommand(app)
	newCheckCommand(app)
	newConfigCommand(app)
	newTargetsCommand(app)
	newScrapeCommand(app)
	newWhyCommand(app)
	newCostCommand(app)
	return app
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedFlags: docs/configuration.md has a row for every flag of the main command, with its default, and for
// nothing else. It also says which flags the commands share.
func TestDocumentedFlags(t *testing.T) {
	app := theApp()
	want := map[string]string{}
	shared := map[string]bool{}
	for _, f := range app.GetCommand("config").Model().Flags {
		shared[f.Name] = true
	}
	for _, f := range app.GetCommand("run").Model().Flags {
		switch {
		case f.Hidden:
		case shared[f.Name]: // the first table has no defaults
			want[f.Name] = ""
		case f.IsBoolFlag():
			want[f.Name] = "off"
		default:
			want[f.Name] = strings.Join(f.Default, " ")
		}
	}
	got := map[string]string{}
	_, tables, _ := strings.Cut(read(t, "../../docs/configuration.md"), "\n## Flags\n")
	tables, _, _ = strings.Cut(tables, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z.-]+)[^`]*` \\| (?:(?:`([^`]*)`|(off)|) \\| )?").
		FindAllStringSubmatch(tables, -1) {
		got[m[1]] = m[2] + m[3]
	}
	if !maps.Equal(got, want) {
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("--%s: documented default %q, want %q", name, got[name], want[name])
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("--%s is documented, but there is no such flag", name)
			}
		}
	}
	for _, f := range app.GetCommand("targets").Model().Flags {
		delete(shared, f.Name)
	}
	for name := range shared {
		t.Errorf("--%s: of config, but not of targets", name)
	}
}

// othersFlags are flags of Prometheus that our documents mention, and an example of CONTRIBUTING.md.
var othersFlags = []string{
	"web.enable-remote-write-receiver", "web.remote-write-receiver.accepted-protobuf-messages", "web.cors.origin",
	"query.lookback-delta", "part.what",
	"scrape.timestamp-tolerance",
}

// documents returns the documents for users.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/migration/*.md", "deploy/*.md", "deploy/*/*.md",
		"deploy/*/*/*.md"} {
		files, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) != "CHANGELOG.md" { // it describes earlier versions
				out = append(out, file)
			}
		}
	}
	if len(out) < 10 {
		t.Fatalf("documents = %v", out)
	}
	return out
}

// TestFlagsThatDocumentsName checks that a command has each flag that a document names. It looks at flags with a dot,
// which other tools do not have, and at flags after the word envoy-scraper.
func TestFlagsThatDocumentsName(t *testing.T) {
	known := map[string]bool{"help": true, "version": true}
	for _, c := range theApp().Model().Commands {
		for _, f := range c.Flags {
			known[f.Name] = true
		}
	}
	ours := regexp.MustCompile("(?m)(?:^|`|bin/)envoy-scraper [^`\n]*")
	flag := regexp.MustCompile("(?:^|[\\s`(\"'])--([a-z][a-z0-9.-]*[a-z0-9])")
	for _, file := range documents(t) {
		text, seen := read(t, file), 0
		for _, m := range flag.FindAllStringSubmatch(strings.Join(ours.FindAllString(text, -1), "\n"), -1) {
			if seen++; !known[m[1]] {
				t.Errorf("%s: envoy-scraper --%s: there is no such flag", file, m[1])
			}
		}
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], ".") && !known[m[1]] && !slices.Contains(othersFlags, m[1]) {
				t.Errorf("%s: --%s: there is no such flag", file, m[1])
			}
		}
		if filepath.Base(file) == "configuration.md" && seen == 0 {
			t.Errorf("%s: no command line was found", file)
		}
	}
}

// TestDocumentedMetrics: docs/metrics.md has a row for every metric of ours, with its type and labels, and for nothing
// else. No document names a metric that does not exist.
func TestDocumentedMetrics(t *testing.T) {
	want := map[string]string{"envoy_scraper_build_info": "version, revision, branch, goversion, goos, goarch, tags"}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)\{([^}]*)\}: `).
		FindAllStringSubmatch(read(t, "testdata/metrics.golden"), -1) {
		want[m[1]] = strings.ReplaceAll(m[2], ",", ", ")
	}
	got := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `(envoy_scraper_\\w+)` \\| (\\w+) \\| ([^|]*?) *\\|")
	for _, m := range row.FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		got[m[1]] = m[3]
		if counts := strings.HasSuffix(m[1], "_total"); counts != (m[2] == "counter") {
			t.Errorf("%s is documented as a %s", m[1], m[2])
		}
	}
	for name := range want {
		if labels, ok := got[name]; !ok || labels != want[name] {
			t.Errorf("%s: documented labels %q (row: %v), want %q", name, labels, ok, want[name])
		}
	}
	name := regexp.MustCompile(`\benvoy_scraper_[a-z0-9_]*[a-z0-9]\b`)
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, file := range documents(t) {
		for _, m := range name.FindAllString(read(t, file), -1) {
			_, known := want[m]
			if _, histogram := want[suffix.ReplaceAllString(m, "")]; !known && !histogram {
				t.Errorf("%s: %s: there is no such metric", file, m)
			}
		}
	}
}
