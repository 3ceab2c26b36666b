package scrape

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// reported lists the series that say how a scrape went, in the order in which a batch has them. The last three exist
// only with extra_scrape_metrics. Names, help and units are Prometheus'.
func reported() [8]struct{ name, help, unit string } {
	return [8]struct{ name, help, unit string }{
		{"up", "Health of the scrape target. 1 means the target is healthy, 0 if the scrape failed.", "targets"},
		{"scrape_duration_seconds", "Duration of the last scrape in seconds.", "seconds"},
		{"scrape_samples_scraped", "Number of samples last scraped.", "samples"},
		{"scrape_samples_post_metric_relabeling", "Number of samples remaining after metric relabeling was applied.",
			"samples"},
		{"scrape_series_added", "Number of series in the last scrape.", "series"},
		{"scrape_timeout_seconds", "The configured scrape timeout for a target.", "seconds"},
		{"scrape_sample_limit", "The configured sample limit for a target. " +
			"Returns zero if there is no limit configured.", "samples"},
		{"scrape_body_size_bytes", "The uncompressed size of the last scrape response, if successful. " +
			"Scrapes failing because body_size_limit is exceeded report -1, other scrape failures report 0.", "bytes"},
	}
}

// alwaysReported is how many of the reported series exist without extra_scrape_metrics.
const alwaysReported = 5

// reportValues are the values of the reported series.
type reportValues struct {
	up, durationSeconds, samplesScraped, samplesKept, seriesAdded float64
	timeoutSeconds, sampleLimit, bodySizeBytes                    float64
}

// inOrder returns the values in the order of reported.
func (v reportValues) inOrder() [8]float64 {
	return [8]float64{
		v.up, v.durationSeconds, v.samplesScraped, v.samplesKept, v.seriesAdded,
		v.timeoutSeconds, v.sampleLimit, v.bodySizeBytes,
	}
}

// report holds a target's report series, with one reference to each from openReport to release.
type report struct {
	ids    []series.ID
	gone   []series.ID // reported by the predecessor but not by this loop; one reference each until it is marked
	onPage bool        // the target's page may have one of these series itself
}

func openReport(table *series.Table, id series.TargetID, target labels.Labels, extra bool) report {
	var r report
	b := labels.NewBuilder(labels.EmptyLabels())
	for i, s := range reported() {
		if i >= alwaysReported && !extra {
			break
		}
		b.Reset(labels.EmptyLabels())
		b.Set(model.MetricNameLabel, s.name)
		// Label by label, as Prometheus does: of a target with both, job takes exported_job away.
		target.Range(func(l labels.Label) {
			b.Del(model.ExportedLabelPrefix + l.Name)
			b.Set(l.Name, l.Value)
		})
		meta := series.Meta{Type: model.MetricTypeGauge, Help: s.help, Unit: s.unit}
		r.ids = append(r.ids, table.Add(id, b.Labels(), meta))
	}
	return r
}

// inherit takes over the report of the predecessor.
func (r *report) inherit(table *series.Table, old report) {
	r.onPage = r.onPage || old.onPage
	keep := min(len(r.ids), len(old.ids))
	r.gone = append(old.gone, old.ids[keep:]...)
	table.Release(slices.Values(old.ids[:keep]))
}

// noteNew is called for each series that is new on the page.
func (r *report) noteNew(id series.ID) { r.onPage = r.onPage || r.has(id) }

// release gives the references back.
func (r *report) release(table *series.Table) {
	table.Release(slices.Values(r.ids))
	r.releaseMarked(table)
}

// releaseMarked gives back the series that have been marked.
func (r *report) releaseMarked(table *series.Table) {
	table.Release(slices.Values(r.gone))
	r.gone = nil
}

// add appends the report of a scrape. complete says that the page was good and that b has every sample of it that
// relabeling kept.
func (r *report) add(b *series.Batch, v reportValues, complete bool) {
	values := v.inOrder()
	shown := r.shown(b)
	for _, id := range r.gone {
		if !slices.Contains(shown, id) {
			b.Add(id, series.StaleMarker())
		}
	}
	for i, id := range r.ids {
		if !slices.Contains(shown, id) {
			b.Add(id, values[i])
		}
	}
	if complete && len(shown) == 0 { // a series that a good page does not have is new when it is there again
		r.onPage = false
	}
}

// end appends a staleness marker for each report series: the target is gone.
func (r *report) end(b *series.Batch) {
	shown := r.shown(b)
	for _, ids := range [][]series.ID{r.gone, r.ids} {
		for _, id := range ids {
			if !slices.Contains(shown, id) {
				b.Add(id, series.StaleMarker())
			}
		}
	}
}

// shown returns the report series that a batch already has from the page. They are not added again: the first of two
// samples of a series wins, and a request must not have both.
func (r *report) shown(b *series.Batch) (ids []series.ID) {
	if !r.onPage {
		return nil
	}
	for _, id := range b.Series {
		if r.has(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *report) has(id series.ID) bool {
	return slices.Contains(r.ids, id) || slices.Contains(r.gone, id)
}
