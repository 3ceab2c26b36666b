package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"
)

// pageReport is what is on a page.
type pageReport struct {
	URL         string         `json:"url"`
	Redirected  string         `json:"redirected_to,omitempty"`
	ContentType string         `json:"content_type"`
	Encoding    string         `json:"content_encoding,omitempty"`
	Seconds     float64        `json:"duration_seconds"`
	WireBytes   int64          `json:"wire_bytes"`
	Bytes       int            `json:"bytes"`
	Series      int            `json:"series"`
	Duplicates  int            `json:"duplicates"`
	Kept        int            `json:"kept"`
	Rules       int            `json:"metric_relabel_rules"`
	Istio       istioReport    `json:"istio"`
	Families    []familyReport `json:"families"`
}

// familyReport is one family of a page.
type familyReport struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Series int    `json:"series"`
	Kept   int    `json:"kept"`
	Bytes  int    `json:"bytes,omitempty"`
}

// istioReport answers the documentation's question: does this sidecar show Istio's metrics?
type istioReport struct {
	Shown  bool           `json:"shown"`
	Series map[string]int `json:"series"`
	Words  string         `json:"words"`
}

// istioTraffic are Istio's standard metrics of traffic.
func istioTraffic() []string {
	return []string{
		"istio_requests_total", "istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes",
		"istio_request_messages_total", "istio_response_messages_total", "istio_tcp_sent_bytes_total",
		"istio_tcp_received_bytes_total", "istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total",
	}
}

// pageReader counts while it walks over a page.
type pageReader struct {
	job      *promconfig.ScrapeConfig
	target   labels.Labels // what the target would add, as far as a bare URL tells
	rest     []byte        // of a text page: what was not counted yet; nil for protobuf
	index    map[string]int
	families []familyReport
	seen     map[string]struct{} // label sets
	kept     int
	dupes    int
	current  familyReport // the TYPE in force
	comments int          // bytes of the comments since the last series: the next series' family gets them
}

// readPage parses a page as a scrape would, and counts.
func readPage(p *page, u *url.URL, job *promconfig.ScrapeConfig) (*pageReport, error) {
	if isWebPage(p.contentType) {
		return nil, fmt.Errorf("the answer is a web page (%s), not metrics: is the path right? Envoy's is %s", p.contentType, defaultStatsPath)
	}
	parser, err := textparse.New(p.body, p.contentType, labels.NewSymbolTable(), textparse.ParserOptions{
		IgnoreNativeHistograms:                  !job.ScrapeNativeHistogramsEnabled(),
		KeepClassicOnClassicAndNativeHistograms: job.AlwaysScrapeClassicHistogramsEnabled(),
		FallbackContentType:                     job.ScrapeFallbackProtocol.HeaderMediaType(),
	})
	if parser == nil {
		return nil, fmt.Errorf("the answer is not metrics: %w", err)
	}
	r := &pageReader{
		job: job, index: map[string]int{}, seen: map[string]struct{}{},
		target: labels.FromStrings(model.InstanceLabel, u.Host, model.JobLabel, job.JobName),
	}
	if !strings.Contains(p.contentType, "protobuf") {
		r.rest = p.body
	}
	if err := r.walk(parser); err != nil {
		return nil, fmt.Errorf("the page is not in a format of Prometheus, so a scrape of it fails as a whole: %w", err)
	}
	if len(r.families) == 0 && bytes.IndexByte(p.body, 0) >= 0 {
		// Prometheus' parser takes a NUL for the end, and would call this an empty page.
		return nil, errors.New("the answer is not metrics: there are no series and a NUL byte in it, so it is binary")
	}
	return r.report(p, u), nil
}

// walk goes through all entries of a page.
func (r *pageReader) walk(parser textparse.Parser) error {
	var lset labels.Labels
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch entry {
		case textparse.EntryType:
			name, typ := parser.Type()
			r.comments += r.cutLine(nil)
			r.current = familyReport{Name: string(name), Type: string(typ)}
		case textparse.EntrySeries:
			series, _, _ := parser.Series()
			parser.Labels(&lset)
			r.add(lset, r.cutLine(series))
		case textparse.EntryHistogram:
			parser.Labels(&lset)
			r.add(lset, 0)
		default:
			r.comments += r.cutLine(nil)
		}
	}
}

// cutLine takes the next entry's text off the rest of a text page, and returns its length. A quoted value may hold line
// ends; a blank line belongs to what follows it.
func (r *pageReader) cutLine(series []byte) int {
	start := len(r.rest) - len(bytes.TrimLeft(r.rest, "\n"))
	end := start
	for range bytes.Count(series, []byte("\n")) + 1 {
		i := bytes.IndexByte(r.rest[end:], '\n')
		if i < 0 {
			end = len(r.rest)
			break
		}
		end += i + 1
	}
	r.rest = r.rest[end:]
	return end
}

// add counts one series.
func (r *pageReader) add(lset labels.Labels, size int) {
	f := r.family(lset.Get(model.MetricNameLabel))
	f.Series++
	f.Bytes += size + r.comments
	r.comments = 0
	key := string(lset.Bytes(nil))
	if _, ok := r.seen[key]; ok {
		r.dupes++
		return
	}
	r.seen[key] = struct{}{}
	b := labels.NewBuilder(lset)
	r.target.Range(func(l labels.Label) {
		if !r.job.HonorLabels || lset.Get(l.Name) == "" {
			b.Set(l.Name, l.Value)
		}
	})
	if promrelabel.ProcessBuilder(b, r.job.MetricRelabelConfigs...) {
		f.Kept++
		r.kept++
	}
}

// family returns the family that a series of that name belongs to.
func (r *pageReader) family(name string) *familyReport {
	of := familyReport{Name: name, Type: string(model.MetricTypeUnknown)}
	if slices.Contains(seriesNames(r.current), name) {
		of = r.current
	}
	i, ok := r.index[of.Name]
	if !ok {
		i = len(r.families)
		r.index[of.Name] = i
		r.families = append(r.families, of)
	}
	return &r.families[i]
}

// seriesNames are the names that the series of a family may have.
func seriesNames(f familyReport) []string {
	names := []string{f.Name}
	switch model.MetricType(f.Type) {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram:
		return append(names, f.Name+"_bucket", f.Name+"_sum", f.Name+"_count", f.Name+"_gsum", f.Name+"_gcount")
	case model.MetricTypeSummary:
		return append(names, f.Name+"_sum", f.Name+"_count")
	case model.MetricTypeCounter:
		return append(names, f.Name+"_total", f.Name+"_created")
	case model.MetricTypeInfo:
		return append(names, f.Name+"_info")
	}
	return names
}

// report adds it all up: the largest families first.
func (r *pageReader) report(p *page, u *url.URL) *pageReport {
	rep := &pageReport{
		URL: u.Redacted(), Redirected: p.redirected, ContentType: p.contentType, Encoding: p.encoding, Seconds: p.took.Seconds(),
		WireBytes: p.wireBytes, Bytes: len(p.body), Duplicates: r.dupes, Kept: r.kept, Rules: len(r.job.MetricRelabelConfigs),
		Families: r.families,
	}
	for _, f := range r.families {
		rep.Series += f.Series
	}
	rep.Istio = istioWords(r.families)
	slices.SortStableFunc(rep.Families, func(a, b familyReport) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), cmp.Compare(a.Name, b.Name))
	})
	return rep
}

// istioWords says whether a sidecar shows Istio's metrics, and if not, what that may mean.
func istioWords(families []familyReport) istioReport {
	rep := istioReport{Series: map[string]int{}}
	var shown []string
	envoy, istio := 0, 0
	for _, f := range families {
		switch {
		case slices.Contains(istioTraffic(), f.Name):
			rep.Series[f.Name] = f.Series
			shown = append(shown, fmt.Sprintf("%s (%d series)", f.Name, f.Series))
		case strings.HasPrefix(f.Name, "istio_"):
			istio++
		case strings.HasPrefix(f.Name, "envoy_"):
			envoy++
		}
	}
	rep.Shown = len(shown) > 0
	switch {
	case rep.Series["istio_requests_total"] > 0:
		rep.Words = "yes: " + strings.Join(shown, ", ")
	case rep.Shown:
		rep.Words = "yes, but no HTTP requests, as istio_requests_total is not there: " + strings.Join(shown, ", ")
	case istio > 0:
		rep.Words = "not yet: this is a part of Istio, but it shows no traffic; send a request through it and look again"
	case envoy > 0:
		rep.Words = "no: this is an Envoy, but it shows none of Istio's metrics; either nothing went through it yet, or Istio's telemetry is off for it"
	default:
		rep.Words = "no, and it does not look like the page of an Envoy either"
	}
	return rep
}

// writeJSON prints the report for programs.
func (rep *pageReport) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(rep)
}

// writeTable prints the report for people.
func (rep *pageReport) writeTable(w io.Writer) error {
	head := newTable(w, "Page", rep.URL)
	if rep.Redirected != "" {
		head.row("Redirected to", rep.Redirected)
	}
	head.row("Content type", rep.ContentType)
	size := sizeWords(int64(rep.Bytes))
	if rep.Encoding != "" {
		size += fmt.Sprintf(", %s as %s", sizeWords(rep.WireBytes), rep.Encoding)
	}
	head.row("Size", size)
	head.row("Took", time.Duration(rep.Seconds*float64(time.Second)).Round(time.Millisecond).String())
	head.row("Families", fmt.Sprint(len(rep.Families)))
	head.row("Series", fmt.Sprint(rep.Series))
	if rep.Duplicates > 0 {
		head.row("Duplicates", fmt.Sprintf("%d: the first of each counts", rep.Duplicates))
	}
	if rep.Rules > 0 {
		head.row("Kept", fmt.Sprintf("%d after %d metric relabel rules", rep.Kept, rep.Rules))
	}
	head.row("Istio metrics", rep.Istio.Words)
	if err := head.flush(); err != nil || len(rep.Families) == 0 {
		return err
	}
	fmt.Fprintln(w)
	if rep.Rules == 0 { // everything is kept
		t := newTable(w, "FAMILY", "TYPE", "SERIES", "BYTES")
		for _, f := range rep.Families {
			t.row(f.Name, f.Type, fmt.Sprint(f.Series), fmt.Sprint(f.Bytes))
		}
		return t.flush()
	}
	t := newTable(w, "FAMILY", "TYPE", "SERIES", "KEPT", "BYTES")
	for _, f := range rep.Families {
		t.row(f.Name, f.Type, fmt.Sprint(f.Series), fmt.Sprint(f.Kept), fmt.Sprint(f.Bytes))
	}
	return t.flush()
}

// sizeWords prints a number of bytes for people.
func sizeWords(n int64) string {
	const step = 1024
	switch {
	case n < step:
		return fmt.Sprintf("%d B", n)
	case n < step*step:
		return fmt.Sprintf("%.1f KiB", float64(n)/step)
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(step*step))
	}
}
