package publish

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

func wholeReport(t *testing.T) (r runner.WholeReport) {
	t.Helper()
	text, err := os.ReadFile("testdata/whole-report.json")
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWholeTable(t *testing.T) {
	f, err := FromWholeReport(wholeReport(t), "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/whole.golden.md"
	if os.Getenv("GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(f.table()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if f.table() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", f.table(), want)
	}
}

func TestFromWholeReportRefusesWhatDocumentsShouldNotShow(t *testing.T) {
	for name, tc := range map[string]struct {
		commit string
		change func(*runner.WholeReport)
		want   string
	}{
		"uncommitted changes": {"abc1234-dirty", func(*runner.WholeReport) {}, "not committed"},
		"a missing way":       {"abc1234", func(r *runner.WholeReport) { r.Ways = r.Ways[:8] }, "vmagent is missing"},
		"lost samples": {"abc1234", func(r *runner.WholeReport) {
			r.Ways[1].Account.Stored--
		}, "1 served samples not"},
		"late samples": {"abc1234", func(r *runner.WholeReport) {
			for i := range r.Ways[2].Windows {
				r.Ways[2].Windows[i].DeliveredPerDue = 0.9
			}
		}, "0.9000 of the due samples"},
		"few windows": {"abc1234", func(r *runner.WholeReport) { r.Ways[0].Windows = nil }, "0 windows of 0 s"},
		"other fleet": {"abc1234", func(r *runner.WholeReport) { r.Fleet.Targets = 20 }, "not S in its usual form"},
	} {
		t.Run(name, func(t *testing.T) {
			r := wholeReport(t)
			tc.change(&r)
			if _, err := FromWholeReport(r, tc.commit); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}

// TestWriteWholeChangesOnlyItsBlock runs on a copy of the documents.
func TestWriteWholeChangesOnlyItsBlock(t *testing.T) {
	root := copyOfDocuments(t)
	f, err := FromWholeReport(wholeReport(t), "abc1234")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteWhole(root, f); err != nil {
		t.Fatal(err)
	}
	before, errBefore := os.ReadFile("../../docs/performance.md")
	after, errAfter := os.ReadFile(filepath.Join(root, "docs/performance.md"))
	if err := errors.Join(errBefore, errAfter); err != nil {
		t.Fatal(err)
	}
	want, err := replaceBlock(string(before), wholeMarker, f.table())
	if err != nil || string(after) != want {
		t.Errorf("%v, got\n%s", err, after)
	}
	kept, err := readWhole(root)
	if err != nil || kept.table() != f.table() {
		t.Errorf("the kept figures are %+v, %v", kept, err)
	}
}

func TestFiguresThatWereNeverMeasured(t *testing.T) {
	f, err := readWhole(t.TempDir())
	if err != nil || f.table() != "Not measured yet: `make bench-whole`.\n" {
		t.Errorf("table %q, %v", f.table(), err)
	}
}
