package main

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const architectureFile = "../../ARCHITECTURE.md"

var (
	inBackticks = regexp.MustCompile("`([^`\n]+)`")
	pathLike    = regexp.MustCompile(`^[\w.*-]+(/[\w.*-]+)*/?$`)
	fileName    = regexp.MustCompile(`^[\w*-]+\.(go|md|mk|sh|tpl|yml|yaml|txtar|svg)$`)
)

// namedFiles returns the files and folders that a line names in backticks. A name without a folder is in the folder
// that the line named before: "`internal/scrape/sync.go`, `wanted.go`". If it named none, `doc.go` is of any package.
func namedFiles(line string) []string {
	var files []string
	folder := ""
	for _, m := range inBackticks.FindAllStringSubmatch(line, -1) {
		name := m[1]
		switch {
		case !pathLike.MatchString(name):
		case fileName.MatchString(name) && folder == "" && strings.HasSuffix(name, ".go"):
			files = append(files, "internal/*/"+name)
		case fileName.MatchString(name):
			files = append(files, path.Join(folder, name))
		case strings.Contains(name, "/") && !strings.HasPrefix(name, "testdata/"):
			files = append(files, path.Clean(name))
			if folder = path.Clean(name); path.Ext(name) != "" {
				folder = path.Dir(name)
			}
		}
	}
	return files
}

// TestFilesThatGuidesNameExist: a newcomer who follows ARCHITECTURE or CONTRIBUTING finds each file that they name.
func TestFilesThatGuidesNameExist(t *testing.T) {
	for _, guide := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		seen := 0
		for line := range strings.Lines(read(t, filepath.Join("../..", guide))) {
			for _, file := range namedFiles(line) {
				seen++
				if found, err := filepath.Glob(filepath.Join("../..", file)); err != nil || len(found) == 0 {
					t.Errorf("%s names %s, which does not exist, in: %s", guide, file, line)
				}
			}
		}
		if seen < 5 {
			t.Errorf("%s names %d files, want more: are they in backticks?", guide, seen)
		}
	}
}

func TestNamedFiles(t *testing.T) {
	for line, want := range map[string][]string{
		"| due times | `internal/scrape/schedule.go`, `life.go` |": {"internal/scrape/schedule.go",
			"internal/scrape/life.go"},
		"| pages | `internal/web`, `Status()`, `series.Batch` |": {"internal/web"},
		"| the chart | `deploy/helm` (`_pod.tpl`) |":             {"deploy/helm", "deploy/helm/_pod.tpl"},
		"its order is in its `doc.go`":                           {"internal/*/doc.go"},
		"`CHANGELOG.md` and `make test`":                         {"CHANGELOG.md"},
	} {
		if got := namedFiles(line); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", line, got, want)
		}
	}
}

// TestArchitectureTableIsSorted: each thing that one may want to change has one row, and rows are sorted by their first
// word.
func TestArchitectureTableIsSorted(t *testing.T) {
	_, table, found := strings.Cut(read(t, architectureFile), "| to change | open |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no table `to change | open`")
	}
	before := ""
	for line := range strings.Lines(table) {
		topic, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		key := strings.ToLower(strings.ReplaceAll(topic, "`", ""))
		if key <= before {
			t.Errorf("ARCHITECTURE.md: the row %q stands behind %q", key, before)
		}
		before = key
	}
}

// TestPicturesThatDocumentsShowExist also holds that each picture is shown somewhere.
func TestPicturesThatDocumentsShowExist(t *testing.T) {
	picture := regexp.MustCompile(`!\[[^\]]+\]\(([^)]+\.(?:svg|png))\)`)
	shown := map[string]bool{}
	for _, file := range documents(t) {
		for _, m := range picture.FindAllStringSubmatch(read(t, file), -1) {
			name := filepath.Join(filepath.Dir(file), m[1])
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			shown[name] = true
		}
	}
	all, err := filepath.Glob("../../docs/images/*.*")
	if err != nil || len(all) == 0 {
		t.Fatalf("pictures: %v, %v", all, err)
	}
	for _, name := range all {
		if !shown[name] {
			t.Errorf("%s: no document shows it", name)
		}
		if strings.HasSuffix(name, ".svg") && !strings.Contains(read(t, name), "prefers-color-scheme: dark") {
			t.Errorf("%s: it has no colours for dark pages", name)
		}
	}
}
