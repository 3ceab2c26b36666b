package exposition

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestFamilyNamesAreBounded: a page with endless families does not make the process remember all their names.
func TestFamilyNamesAreBounded(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	var page strings.Builder
	fmt.Fprintf(&page, "# TYPE %s counter\n", strings.Repeat("x", maxFamilyNameBytes+1))
	for i := range maxFamilyNames + 100 {
		fmt.Fprintf(&page, "# TYPE f%d counter\n", i)
	}
	var b series.Batch
	if _, err := p.Read(strings.NewReader(page.String()), plain, math.MaxInt64, &b); err != nil {
		t.Fatal(err)
	}
	shown := p.Commit(Shown{})
	defer shown.Release()
	var names []string
	for line := range shown.Lines() {
		names = append(names, shown.FamilyName(line.Family))
	}
	if names[0] != "" || names[1] != "f0" || names[maxFamilyNames] != fmt.Sprint("f", maxFamilyNames-1) ||
		names[maxFamilyNames+1] != "" || len(l.layouts.names.byHash) != maxFamilyNames {
		t.Errorf("%d names are kept, want %d", len(l.layouts.names.byHash), maxFamilyNames)
	}
}

// TestLinesOfOtherFormats: OpenMetrics has no lines of families in its layout, so a dropped line has no family.
func TestLinesOfOtherFormats(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	var b series.Batch
	const page = "# TYPE dropped counter\ndropped_total 1\n# TYPE a gauge\na{b=\"c\"} 2\n# EOF\n"
	if _, err := p.Read(strings.NewReader(page), "application/openmetrics-text; version=1.0.0", math.MaxInt64,
		&b); err != nil {
		t.Fatal(err)
	}
	shown := p.Commit(Shown{})
	defer shown.Release()
	var kinds []LineKind
	for line := range shown.Lines() {
		kinds = append(kinds, line.Kind)
	}
	if fmt.Sprint(kinds) != fmt.Sprint([]LineKind{LineDropped, LineSeries}) {
		t.Errorf("the lines are %v", kinds)
	}
	if (Shown{}).Hold() != true || (Shown{}).FamilyName(1) != "" || (Shown{}).Order() != 0 {
		t.Error("a page that shows nothing cannot be held")
	}
}
