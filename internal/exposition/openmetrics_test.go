package exposition

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// openMetricsCase is one of OpenMetrics' published cases for parsers.
type openMetricsCase struct {
	Name        string
	ShouldParse bool
	Page        string
}

// openMetricsCases returns the cases in testdata, or those in the folder OPENMETRICS_CASES (tests/testdata/parsers of a
// newer checkout).
func openMetricsCases(t *testing.T) (cases []openMetricsCase) {
	t.Helper()
	folder := os.Getenv("OPENMETRICS_CASES")
	if folder == "" {
		var kept struct{ Cases []openMetricsCase }
		unmarshal(t, "testdata/openmetrics-cases.json", &kept)
		return kept.Cases
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "test.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	for _, file := range files {
		var c struct {
			File        string
			ShouldParse bool
		}
		unmarshal(t, file, &c)
		dir := filepath.Dir(file)
		page, err := os.ReadFile(filepath.Join(dir, c.File))
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, openMetricsCase{filepath.Base(dir), c.ShouldParse, string(page)})
	}
	return cases
}

func unmarshal(t *testing.T, file string, to any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// All good pages are accepted, and those bad ones that Prometheus accepts. Its parser checks the form alone. A stricter
// parser would fail scrapes that succeed in Prometheus.
func TestOpenMetricsCases(t *testing.T) {
	var good, bad, accepted, refused int
	for _, c := range openMetricsCases(t) {
		theirs := prometheusReads(c.Page)
		ours := pageReads(c.Page)
		if theirs != nil && ours == nil {
			t.Errorf("%s: taken, though Prometheus refuses it: %v", c.Name, theirs)
		}
		if theirs == nil && ours != nil {
			t.Errorf("%s: refused, though Prometheus takes it: %v", c.Name, ours)
		}
		switch {
		case c.ShouldParse:
			good++
			if ours == nil {
				accepted++
			} else {
				t.Errorf("%s: refused: %v\n%q", c.Name, ours, c.Page)
			}
		default:
			bad++
			if ours != nil {
				refused++
			}
		}
	}
	t.Logf("%d of %d good pages taken, %d of %d bad ones refused", accepted, good, refused, bad)
	if good < 44 || bad < 167 || refused < 88 { // the 89th that no parser takes is the empty page
		t.Errorf("%d good cases, %d bad ones, %d of these refused; want at least 44, 167, 88", good, bad, refused)
	}
}

// prometheusReads returns the error of Prometheus for a page. An empty page is good before any parser sees it. A page
// that the parser accepts fails if a series has a label twice.
func prometheusReads(page string) error {
	if page == "" {
		return nil
	}
	p, err := textparse.New([]byte(page), openMetrics, nil, textparse.ParserOptions{})
	for err == nil {
		var entry textparse.Entry
		if entry, err = p.Next(); err == nil && entry == textparse.EntrySeries {
			var l labels.Labels
			if p.Labels(&l); !l.Has(model.MetricNameLabel) {
				return errors.New("no name")
			}
			if name, twice := l.HasDuplicateLabelNames(); twice {
				return fmt.Errorf("label %s twice", name)
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func pageReads(page string) error {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{HonorTimestamps: true, NativeHistograms: true, MaxHistogramSchema: 8})
	var b series.Batch
	b.Reset(l.target, 1)
	_, err := p.Read(strings.NewReader(page), openMetrics, math.MaxInt64, &b)
	return err
}
