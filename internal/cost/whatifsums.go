package cost

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// Sums is what an aggregate would make of the series of this process.
type Sums struct {
	Match      string   `json:"match"`
	Without    []string `json:"without"`
	Series     int      `json:"series"`     // that match, and can be summed
	Aggregates int      `json:"aggregates"` // their sums
	Gauges     int      `json:"gauges"`     // that match; they stay as they are
	Others     int      `json:"others"`     // that match; they stay: native histograms, quantiles, unknown types
	Already    int      `json:"already"`    // that match, and are summed already
	// Bytes a day that are written to all endpoints now, and would be. nil: nothing was sent yet.
	BytesPerDay     *float64 `json:"bytes_per_day"`
	BytesPerDayThen *float64 `json:"bytes_per_day_then"`

	jobs []string // with series that can be summed
}

// churnOnly is the part of the series that a sum must save, or the answer says that it saves churn alone.
const churnOnly = 0.05

// sumUp says what an aggregate would save, if its block were the last one of the configuration.
func (t *tally) sumUp(ctx context.Context, q Query, pages []scrape.LastPage, r *tableReader) (WhatIf, error) {
	s := &Sums{Match: q.Aggregate, Without: q.without()}
	if p, ok := aggregate.PresetOf(q.Aggregate); ok {
		s.Match = p.Match
	}
	w := WhatIf{Question: fmt.Sprintf("sum %s without %s", s.Match, strings.Join(s.Without, ", ")), Fixes: []Fix{},
		Left: t.whole(), Sums: s}
	match, err := compile(s.Match)
	if err != nil {
		return w, fmt.Errorf("aggregate=%.80q: %w", s.Match, err)
	}
	s.addRaw(t, match)
	now, then, err := s.count(ctx, t, match, pages, r)
	if err != nil {
		return w, err
	}
	if s.Series == 0 {
		w.Answer = "No series that can be summed has a name that matches." + s.raw()
		if s.Gauges+s.Others+s.Already == 0 {
			w.Unknown = true
			w.Answer += similar(s.Match, t.names())
		}
		return w, nil
	}
	w.Gone = Amount{Series: s.Series - s.Aggregates, SamplesPerSecond: max(now-then, 0)}
	w.Left = t.whole().minus(w.Gone)
	n := t.totals.Without + t.totals.Others
	w.Safe, w.Partial = n == 0, n > 0
	s.addBytes(t, w.Gone.SamplesPerSecond)
	w.Answer = s.answer(t)
	w.Fixes = []Fix{s.fix(t, match)}
	w.Fixes[0].Receiver = receiverSaves(w.Gone) + s.bytes()
	return w, nil
}

// addRaw counts what matches and is not summed.
func (s *Sums) addRaw(t *tally, match *regexp.Regexp) {
	for i := range t.byName {
		n := &t.byName[i]
		if !match.MatchString(n.name) {
			continue
		}
		s.Already += n.summed
		switch {
		case aggregate.IsCounter(n.name, n.typ):
		case n.typ == model.MetricTypeGauge:
			s.Gauges += n.series - n.summed
		default:
			s.Others += n.series - n.summed
		}
	}
}

// count counts the series that can be summed, and their sums, at each interval. It returns the samples per second of
// both.
func (s *Sums) count(
	ctx context.Context, t *tally, match *regexp.Regexp, pages []scrape.LastPage, r *tableReader,
) (now, then float64, _ error) {
	of := setsOf{}
	for _, name := range append([]string{model.InstanceLabel}, s.Without...) { // instance gets another value
		if symbol, known := t.labels[name]; known {
			of.without = append(of.without, symbol)
		}
	}
	matches := map[string]bool{}
	for _, n := range t.byName {
		matches[n.name] = match.MatchString(n.name)
	}
	byInterval := map[time.Duration][]scrape.LastPage{}
	for i := range pages {
		every := pages[i].Interval
		byInterval[every] = append(byInterval[every], pages[i])
	}
	for every, some := range byInterval {
		of.sums = func(job, name string, typ model.MetricType) bool {
			if !matches[name] || !aggregate.IsCounter(name, typ) || t.inForce.decide(job, &nameFacts{text: name,
				typ: typ}) != fateSent {
				return false
			}
			if !slices.Contains(s.jobs, job) {
				s.jobs = append(s.jobs, job)
			}
			return true
		}
		sets, err := countSets(ctx, some, r, of, t.totals.Series)
		if err != nil {
			return 0, 0, err
		}
		s.Series += sets.series
		s.Aggregates += sets.distinct
		if every > 0 {
			now += float64(sets.series) / every.Seconds()
			then += float64(sets.distinct) / every.Seconds()
		}
	}
	return now, then, nil
}

// answer says it in sentences.
func (s *Sums) answer(t *tally) string {
	sent := t.totals.SentSeries
	left := sent - s.Series + s.Aggregates
	sums := "sums"
	if s.Aggregates == 1 {
		sums = "sum"
	}
	text := fmt.Sprintf("%s series match and can be summed. They make %s %s, of %s series on average. Of %s "+
		"series that are sent now, %s would be left (%s).", number(s.Series), number(s.Aggregates), sums,
		decimal(float64(s.Series)/float64(s.Aggregates)), number(sent), number(left), percent(share(left, sent)))
	if share(s.Series-s.Aggregates, s.Series) < churnOnly {
		text += " Hardly two targets of this agent show the same series, so their number falls little. What falls is " +
			"churn: new pods make no new series."
	}
	text += s.raw()
	if n := t.totals.Others; n > 0 {
		text += fmt.Sprintf(" Other instances scrape %s targets, and sum them apart.", number(n))
	}
	return text
}

// raw says what matches and is not summed by this block.
func (s *Sums) raw() (text string) {
	if s.Gauges > 0 {
		text += fmt.Sprintf(" %s series of gauges match and stay as they are, unless the entry says gauges: sum, max "+
			"or min.", number(s.Gauges))
	}
	if s.Others > 0 {
		text += fmt.Sprintf(" %s series match and stay as they are, since they are native histograms, quantiles, or "+
			"of a type that the page does not say.", number(s.Others))
	}
	if s.Already > 0 {
		text += fmt.Sprintf(" %s series match and are summed already.", number(s.Already))
	}
	return text
}

// addBytes estimates what is written in a day, at the bytes per sample since the start.
func (s *Sums) addBytes(t *tally, saved float64) {
	if t.totals.WrittenBytesPerSecond == nil || t.totals.SentSamplesPerSecond <= 0 {
		return
	}
	const day = 24 * 60 * 60
	now := *t.totals.WrittenBytesPerSecond * day
	then := now * max(1-saved/t.totals.SentSamplesPerSecond, 0)
	s.BytesPerDay, s.BytesPerDayThen = &now, &then
}

func (s *Sums) bytes() string {
	if s.BytesPerDay == nil {
		return ""
	}
	return fmt.Sprintf("; %s instead of %s a day", size(int64(*s.BytesPerDayThen)), size(int64(*s.BytesPerDay)))
}

// fix returns the entry to add, or the one to widen: two entries cannot match one series.
func (s *Sums) fix(t *tally, match *regexp.Regexp) Fix {
	slices.Sort(s.jobs)
	matched := slices.DeleteFunc(t.names(), func(name string) bool { return !match.MatchString(name) })
	if i := t.inForce.entryOf(s.jobs, matched); i >= 0 {
		return Fix{Title: fmt.Sprintf("envoy_scraper.aggregate[%d] matches some of these series already, and a series "+
			"can be matched by one entry only. Widen that entry: match: %s|%s", i, t.inForce.blocks[i].Pattern(),
			s.Match)}
	}
	block := aggregate.Block{Jobs: s.jobs, Match: match, Without: s.Without,
		As: labels.FromStrings(model.InstanceLabel, "%{NODE_NAME}"), Gauges: aggregate.GaugesRaw}
	return Fix{Title: "Add to the configuration. The label instance then tells the sums of this agent from those of " +
		"others: NODE_NAME must be its node, or write another variable (docs/aggregates.md)",
		YAML: aggregate.YAML(block)}
}

// names returns the names of all series.
func (t *tally) names() []string {
	names := make([]string, len(t.byName))
	for i := range t.byName {
		names[i] = t.byName[i].name
	}
	return names
}
