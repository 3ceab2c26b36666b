package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// filterReport is what scrape says about the filter that the rules of a job make.
type filterReport struct {
	Filter   string        `json:"filter,omitempty"`
	WhyWhole string        `json:"why_whole,omitempty"` // why there is no filter, or why it is not used
	Page     *filteredPage `json:"page,omitempty"`      // nil: it was not read
}

// filteredPage compares the page that Envoy makes with a filter with the whole page.
type filteredPage struct {
	Bytes    int      `json:"bytes"`
	Series   int      `json:"series"`
	Missing  int      `json:"missing"`            // series that the rules keep and the filtered page lacks
	Examples []string `json:"examples,omitempty"` // of them
	Fails    string   `json:"fails,omitempty"`    // why it could not be compared

	wholeBytes, wholeSeries int
}

// mostExamples is how many missing series are named.
const mostExamples = 5

// filterOf returns what filter the rules of a job make for a page.
func filterOf(once *scrape.Once, off bool) *filterReport {
	rep := &filterReport{}
	if rep.Filter, rep.WhyWhole = scrape.FilterOf(once.Job); rep.Filter == "" {
		return rep
	}
	if why := pushdown.RefuseURL(once.URL); why != "" {
		return &filterReport{WhyWhole: why}
	}
	if off {
		rep.WhyWhole = "push_down is off for this job"
	}
	return rep
}

// compare reads the page with the filter, and once more without it: series come and go, and only those that both whole
// pages show must be on the filtered one. kept are the series of the first whole page that rules keep.
func (rep *filterReport) compare(ctx context.Context, whole *scrape.Once, kept map[string]labels.Labels) {
	rep.Page = &filteredPage{wholeBytes: whole.Body.Len(), wholeSeries: whole.Counts.Scraped}
	filtered := again(whole)
	filtered.Filter = rep.Filter
	shown, err := keptOn(ctx, filtered)
	if err != nil {
		rep.Page.Fails = "with the filter: " + err.Error()
		return
	}
	rep.Page.Bytes, rep.Page.Series = filtered.Body.Len(), filtered.Counts.Scraped
	last, err := keptOn(ctx, again(whole))
	if err != nil {
		rep.Page.Fails = "the second time without the filter: " + err.Error()
		return
	}
	for key, series := range kept {
		if shown[key].IsEmpty() && !last[key].IsEmpty() {
			rep.Page.Examples = append(rep.Page.Examples, series.String())
		}
	}
	rep.Page.Missing = len(rep.Page.Examples)
	slices.Sort(rep.Page.Examples)
	rep.Page.Examples = rep.Page.Examples[:min(len(rep.Page.Examples), mostExamples)]
}

// again returns a scrape of the same page.
func again(o *scrape.Once) *scrape.Once {
	return &scrape.Once{Job: o.Job, URL: o.URL, Timeout: o.Timeout, Pod: o.Pod, Via: o.Via,
		RefuseLoopback: o.RefuseLoopback, OwnAddressOnly: o.OwnAddressOnly, ByPlace: o.ByPlace}
}

// keptOn scrapes a page, and returns its series that rules keep.
func keptOn(ctx context.Context, once *scrape.Once) (map[string]labels.Labels, error) {
	kept := keptSeries{}
	once.Series = kept.add
	if err := once.Run(ctx); err != nil {
		return nil, explainFailure(once, err)
	}
	return kept, nil
}

// keptSeries are the series of a page that rules keep, as printed, by their labels.
type keptSeries map[string]labels.Labels

func (k keptSeries) add(printed labels.Labels, _ model.MetricType, kept bool) {
	if kept {
		k[string(printed.Bytes(nil))] = printed.Copy()
	}
}

// rows are the lines of the report.
func (rep *filterReport) rows(add func(cells ...string)) {
	switch {
	case rep.Filter == "":
		add("Filter", "none: "+rep.WhyWhole)
		return
	case rep.WhyWhole != "":
		add("Filter", scrape.ShortFilter(rep.Filter)+" (not used: "+rep.WhyWhole+")")
	default:
		add("Filter", scrape.ShortFilter(rep.Filter))
	}
	p := rep.Page
	switch {
	case p == nil:
		return
	case p.Fails != "":
		add("Filtered page", "fails "+p.Fails)
		return
	}
	add("Filtered page", fmt.Sprintf("%s of %s, %d of %d lines: %d %% of the bytes and %d %% of the lines left out%s",
		show.Bytes(int64(p.Bytes)), show.Bytes(int64(p.wholeBytes)), p.Series, p.wholeSeries,
		percentLeftOut(p.Bytes, p.wholeBytes), percentLeftOut(p.Series, p.wholeSeries), p.verdict()))
	if p.Missing == 0 {
		add("Missing", "none of the series that the rules keep")
		return
	}
	add("Missing", fmt.Sprintf("%d series that the rules keep: %s. Write push_down: off for this job, and report this",
		p.Missing, strings.Join(p.Examples, ", ")))
}

// verdict says that the program does not use a filter that leaves out so little; empty: it uses the filter.
func (p *filteredPage) verdict() string {
	if scrape.SavesLittle(p.Series, p.wholeSeries) {
		return ", too little: the program reads whole pages"
	}
	return ""
}

// percentLeftOut returns how many percent of the whole a part lacks.
func percentLeftOut(part, whole int) int { return 100 * max(0, whole-part) / max(whole, 1) }

// checkFiltered returns why --filtered cannot be answered; nil: it can.
func (rep *filterReport) checkFiltered(job *promconfig.ScrapeConfig) error {
	switch {
	case len(job.MetricRelabelConfigs) == 0:
		return errors.New("--filtered: there are no metric_relabel_configs to make a filter of: give --config.file " +
			"and --job")
	case rep.Filter == "":
		return fmt.Errorf("--filtered: there is no filter: %s", rep.WhyWhole)
	}
	return nil
}
