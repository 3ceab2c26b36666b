package main

import (
	"os"
	"strings"
	"testing"
)

// TestPushDownDocument runs what docs/push-down.md shows: check says of its job what the page says, and the settings on
// the page do to the job what the page says.
func TestPushDownDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/push-down.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf(string(text), "yaml")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of YAML, want a job and its settings", len(blocks))
	}
	t.Chdir(t.TempDir())
	check := func(text string) string {
		t.Helper()
		if err := os.WriteFile("jobs.yml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := runCommand(t, "check", "jobs.yml")
		if code != exitOK {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
		return out
	}
	out := check(blocks[0])
	for line := range strings.Lines(out) {
		if strings.Contains(line, ": note: ") && !strings.Contains(string(text), line) {
			t.Errorf("the page lacks the line\n%s", line)
		}
	}
	const filter = "filter="
	if !strings.Contains(out, filter) {
		t.Errorf("the job of the page has no filter:\n%s", out)
	}
	job := "\nscrape_configs:\n" + blocks[0]
	if out := check(blocks[1] + job); strings.Contains(out, filter) {
		t.Errorf("the settings do not switch the filter off:\n%s", out)
	}
}

// blocksOf returns the blocks of a document in a language.
func blocksOf(text, language string) (blocks []string) {
	for _, rest := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(rest, "```\n")
		blocks = append(blocks, block)
	}
	return blocks
}
