package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// pageReport is what scrape prints about a page.
type pageReport struct {
	URL         string          `json:"url"`
	Pod         string          `json:"pod,omitempty"`        // namespace/name
	OtherPods   int             `json:"other_pods,omitempty"` // that the command line names, too
	Via         *chosenWay      `json:"via,omitempty"`        // how the pod was read
	Redirected  string          `json:"redirected_to,omitempty"`
	ContentType string          `json:"content_type"`
	Encoding    string          `json:"content_encoding,omitempty"`
	Seconds     float64         `json:"duration_seconds"`
	WireBytes   int64           `json:"wire_bytes"`
	Bytes       int             `json:"bytes"`
	Series      int             `json:"series"`
	Duplicates  int             `json:"duplicates"`
	Kept        int             `json:"kept"`
	Rules       int             `json:"metric_relabel_rules"`
	Filter      *filterReport   `json:"filter,omitempty"` // nil: there are no rules
	Istio       istioReport     `json:"istio"`
	Fails       string          `json:"fails,omitempty"` // why a scrape of this page fails
	Families    []*familyReport `json:"families"`

	once     *scrape.Once
	families map[string]*familyReport // by the name of the family, and by the names of its series
	seen     map[string]struct{}      // label sets
}

// familyReport is a metric family of a page.
type familyReport struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Series int    `json:"series"`
	Kept   int    `json:"kept"`
	Bytes  int    `json:"bytes,omitempty"`
}

// istioReport answers whether the page has Istio's metrics.
type istioReport struct {
	Shown  bool           `json:"shown"`
	Series map[string]int `json:"series"`
	Words  string         `json:"words"`
}

// fails reports whether a scrape of the page fails, or would lose something with its filter.
func (rep *pageReport) fails() bool {
	return rep.Fails != "" || rep.Filter != nil && rep.Filter.Page != nil &&
		(rep.Filter.Page.Fails != "" || rep.Filter.Page.Missing > 0)
}

// newPageReport scrapes a page and reports on it. If the scrape fails before the page is known, it returns the reason.
// also is called for each series, as Once.Series; nil: nobody else wants to know.
func newPageReport(
	ctx context.Context, once *scrape.Once, also func(labels.Labels, model.MetricType, bool),
) (*pageReport, error) {
	rep := &pageReport{
		URL: once.URL.Redacted(), Rules: len(once.Job.MetricRelabelConfigs), Families: []*familyReport{},
		once: once, families: map[string]*familyReport{}, seen: map[string]struct{}{},
	}
	once.Series = func(printed labels.Labels, typ model.MetricType, kept bool) {
		rep.addSeries(printed, typ, kept)
		if also != nil {
			also(printed, typ, kept)
		}
	}
	switch err := once.Run(ctx); {
	case err != nil && !(once.Read && once.Limited):
		return nil, explainFailure(once, err)
	case err != nil:
		rep.Fails = err.Error()
	case once.Counts.Scraped == 0 && bytes.IndexByte(once.Body.Bytes(), 0) >= 0:
		// The reader takes a NUL for the end of the page, as Prometheus does, and would call this an empty page.
		return nil, errors.New("the answer is not metrics: there are no series and a NUL byte in it, so it is binary")
	}
	if !rep.isProtobuf() {
		rep.addText(once.Body.Bytes())
	}
	rep.finish()
	return rep, nil
}

func (rep *pageReport) contentType() string { return rep.once.Response.Header.Get("Content-Type") }

func (rep *pageReport) isProtobuf() bool { return strings.Contains(rep.contentType(), "protobuf") }

// addSeries takes a series that the page shows for the first time.
func (rep *pageReport) addSeries(printed labels.Labels, typ model.MetricType, kept bool) {
	f := rep.family(printed.Get(model.MetricNameLabel), typ)
	if rep.isProtobuf() {
		f.Series++
	}
	key := string(printed.Bytes(nil))
	if _, twice := rep.seen[key]; twice {
		return
	}
	rep.seen[key] = struct{}{}
	if kept {
		f.Kept++
		rep.Kept++
	}
}

// family returns the family of a series.
func (rep *pageReport) family(name string, typ model.MetricType) *familyReport {
	if f := rep.families[name]; f != nil {
		return f
	}
	name, family := strings.Clone(name), strings.Clone(name)
	for _, suffix := range rep.suffixes(typ) {
		if base, ok := strings.CutSuffix(family, suffix); ok {
			family = base
			break
		}
	}
	if rep.families[family] == nil {
		f := &familyReport{Name: family, Type: string(typ)}
		rep.families[family] = f
		rep.Families = append(rep.Families, f)
	}
	rep.families[name] = rep.families[family]
	return rep.families[name]
}

// suffixes returns what the names of a family's series add to its name: x_bucket and x_sum belong to histogram x.
func (rep *pageReport) suffixes(typ model.MetricType) []string {
	switch {
	case typ == model.MetricTypeHistogram:
		return []string{"_bucket", "_sum", "_count"}
	case typ == model.MetricTypeGaugeHistogram:
		return []string{"_bucket", "_gsum", "_gcount"}
	case typ == model.MetricTypeSummary:
		return []string{"_sum", "_count"}
	case strings.Contains(rep.contentType(), "openmetrics"): // "# TYPE a counter", then "a_total 1"
		return map[model.MetricType][]string{model.MetricTypeCounter: {"_total"}, model.MetricTypeInfo: {"_info"}}[typ]
	}
	return nil
}

// addText counts the series and bytes of each family, line by line. Comments and blank lines belong to the family of
// the next series. All series of the page are known, so a line's name is enough: that of `x_total{a="b"} 1` is x_total.
func (rep *pageReport) addText(text []byte) {
	size := 0
	for line := range bytes.Lines(text) {
		size += len(line)
		name := bytes.TrimLeft(line, " \t")
		if quoted, ok := bytes.CutPrefix(name, []byte(`{"`)); ok {
			name, _, _ = bytes.Cut(quoted, []byte(`"`))
		} else {
			name = name[:max(0, bytes.IndexAny(name, "{ \t"))]
		}
		if f := rep.families[string(name)]; f != nil {
			f.Series++
			f.Bytes += size
			size = 0
		}
	}
}

// finish fills in the totals and sorts the families, the largest first.
func (rep *pageReport) finish() {
	o := rep.once
	if last := o.Response.Request.URL; last.String() != o.URL.String() {
		rep.Redirected = last.Redacted()
	}
	rep.ContentType, rep.Encoding = rep.contentType(), o.Response.Header.Get("Content-Encoding")
	rep.Seconds, rep.WireBytes, rep.Bytes = o.Took.Seconds(), o.WireBytes, o.Body.Len()
	rep.Series, rep.Duplicates = o.Counts.Scraped, o.Counts.Scraped-len(rep.seen)
	rep.Istio = istioWords(rep.Families)
	slices.SortStableFunc(rep.Families, func(a, b *familyReport) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), cmp.Compare(a.Name, b.Name))
	})
}

// istioWords reports whether there are Istio's metrics among the families, and if not, what the reason may be.
func istioWords(families []*familyReport) istioReport {
	rep := istioReport{Series: map[string]int{}}
	var shown []string
	var signs envoy.Signs
	for _, f := range families {
		signs |= envoy.SignOf(f.Name)
		if envoy.IsStandard(f.Name) {
			rep.Series[f.Name] = f.Series
			shown = append(shown, fmt.Sprintf("%s (%d series)", f.Name, f.Series))
		}
	}
	rep.Shown = len(shown) > 0
	list, why := strings.Join(shown, ", "), signs.WhyNoRequests()
	switch {
	case signs.Has(envoy.Requests):
		rep.Words = "yes: " + list
	case rep.Shown:
		rep.Words = "yes, but no HTTP requests, as istio_requests_total is not there: " + list
		if why != "" {
			rep.Words += "; " + why
		}
	case signs.Class() == envoy.ClassIdle:
		rep.Words = "not yet: " + why
	case signs.Class() == envoy.ClassEnvoy:
		rep.Words = "no: " + why
	default:
		rep.Words = "no, and it does not look like the page of an Envoy either"
	}
	return rep
}

// printJSON prints a value as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeTable prints the report as tables.
func (rep *pageReport) writeTable(w io.Writer) error {
	head := newTable(w, "Page", rep.URL)
	if rep.Pod != "" {
		pod := rep.Pod
		if rep.OtherPods > 0 {
			pod += fmt.Sprintf(" (and %d more, which were not read)", rep.OtherPods)
		}
		head.row("Pod", pod)
		head.row("Read", rep.Via.String())
	}
	if rep.Redirected != "" {
		head.row("Redirected to", rep.Redirected)
	}
	head.row("Content type", rep.ContentType)
	size := show.Bytes(int64(rep.Bytes))
	if rep.Encoding != "" {
		size += fmt.Sprintf(", %s as %s", show.Bytes(rep.WireBytes), rep.Encoding)
	}
	head.row("Size", size)
	head.row("Took", time.Duration(rep.Seconds*float64(time.Second)).Round(time.Millisecond).String())
	head.row("Families", fmt.Sprint(len(rep.Families)))
	head.row("Series", fmt.Sprint(rep.Series))
	if rep.Duplicates > 0 {
		head.row("Duplicates", fmt.Sprintf("%d: the first of each counts", rep.Duplicates))
	}
	if rep.Rules > 0 {
		head.row("Kept", fmt.Sprintf("%d after %s", rep.Kept, plural(rep.Rules, "metric relabel rule")))
	}
	if rep.Filter != nil {
		rep.Filter.rows(head.row)
	}
	if rep.Fails != "" {
		head.row("Scrape fails", rep.Fails)
	}
	head.row("Istio metrics", rep.Istio.Words)
	if err := head.flush(); err != nil || len(rep.Families) == 0 {
		return err
	}
	fmt.Fprintln(w)
	row := func(name, typ, series, kept, bytes string) []string {
		if rep.Rules == 0 { // there is no column of kept series
			return []string{name, typ, series, bytes}
		}
		return []string{name, typ, series, kept, bytes}
	}
	t := newTable(w, row("FAMILY", "TYPE", "SERIES", "KEPT", "BYTES")...)
	for _, f := range rep.Families {
		t.row(row(f.Name, f.Type, fmt.Sprint(f.Series), fmt.Sprint(f.Kept), fmt.Sprint(f.Bytes))...)
	}
	return t.flush()
}
