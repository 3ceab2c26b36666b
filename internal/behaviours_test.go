package internal_test

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rows is how many behaviours of Prometheus' scrape loop, and of what is around it, are counted as rows.
const rows = 65

// TestRowsAreHeld: each row has a test that is named after it, TestRow06… for row 6, or is told of in docs/differences.md
// ("row 53") as deliberately otherwise.
func TestRowsAreHeld(t *testing.T) {
	held := map[int]bool{}
	note := func(text []byte, pattern *regexp.Regexp) {
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			if n, err := strconv.Atoi(string(m[1])); err == nil {
				held[n] = true
			}
		}
	}
	test := regexp.MustCompile(`^Row(\d\d)[A-Z]`)
	for name := range testNames(t) {
		note([]byte(name), test)
	}
	differences, err := os.ReadFile("../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	note(bytes.ToLower(differences), regexp.MustCompile(`\brow (\d+)\b`))
	for n := 1; n <= rows; n++ {
		if !held[n] {
			t.Errorf("no test is named TestRow%02d…, and docs/differences.md does not say why", n)
		}
	}
}

// TestDocumentsNameTestsThatExist: what docs/ says is held by a test is. A name that ends in … stands for all that begin so.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	names := testNames(t)
	documents, err := fs.Glob(os.DirFS("../docs"), "*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	mention := regexp.MustCompile(`\bTest([A-Z]\w*)(…?)`)
	for _, document := range documents {
		text, err := os.ReadFile("../docs/" + document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mention.FindAllStringSubmatch(string(text), -1) {
			found := names[m[1]]
			for name := range names {
				found = found || m[2] != "" && strings.HasPrefix(name, m[1])
			}
			if !found {
				t.Errorf("docs/%s speaks of %s, which is no test", document, m[0])
			}
		}
	}
}

// testNames are the tests of the repository, of its other modules too, without "Test".
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func Test([A-Z]\w*)\(`)
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(os.DirFS(".."), path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
