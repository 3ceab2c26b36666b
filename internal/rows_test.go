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
	test := regexp.MustCompile(`(?m)^func TestRow(\d\d)[A-Z]`)
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
		note(text, test)
		return err
	})
	if err != nil {
		t.Fatal(err)
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
