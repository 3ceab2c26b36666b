package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompareWithReadme(t *testing.T) {
	const printed = "\n  envoy-scraper  http://127.0.0.1:9095/\n  code  value\n  200   2379\n  404   48\n  500   8\n"
	for name, tc := range map[string]struct{ shown, want string }{
		"other numbers, another width": {
			"  envoy-scraper http://127.0.0.1:31000/\n  code value\n  200 1\n  404 2\n  500 3\n", "",
		},
		"a part":                         {"  code  value\n...\n  500   8\n", ""},
		"a line that is not printed":     {"  code  value\n  503   1\n", "503 N"},
		"another order":                  {"  404   48\n  200   2379\n", "200 N"},
		"a code instead of its number":   {"  code  value\n  ok    2379\n", "ok N"},
		"a column that the demo has not": {"  code  value\n  200   2379  3\n", "200 2379 N"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "README.md")
			if err := os.WriteFile(file, []byte("# x\n"+demoCommand+tc.shown+"```\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := compareWithReadme(file, printed)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("# x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := compareWithReadme(file, printed); err == nil {
		t.Error("no error where README does not show the demo")
	}
}
