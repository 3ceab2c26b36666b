package cost

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxNamed is how many families or metrics an answer names at most.
const maxNamed = 1000

// answer answers the questions of a query. used is the matcher of q.Used.
func answer(
	ctx context.Context, q Query, used *usageMatcher, t *tally, pages []scrape.LastPage, r *tableReader,
) ([]WhatIf, error) {
	answers := []WhatIf{}
	if q.DropFamily != "" {
		answers = append(answers, t.dropFamily(q.DropFamily))
	}
	if q.DropLabel != "" {
		w, err := t.dropLabel(ctx, q.DropLabel, pages, r)
		if err != nil {
			return nil, err
		}
		answers = append(answers, w)
	}
	if q.Aggregate != "" {
		w, err := t.sumUp(ctx, q, pages, r)
		if err != nil {
			return nil, err
		}
		answers = append(answers, w)
	}
	if q.Used != nil {
		w, err := t.keepUsed(ctx, q.Used, used)
		if err != nil {
			return nil, err
		}
		answers = append(answers, w)
	}
	return answers, nil
}

// whole returns what all series cost.
func (t *tally) whole() Amount {
	return Amount{t.totals.Series, t.totals.SamplesPerSecond, t.totals.PageBytes, t.totals.summed}
}

func (a Amount) minus(b Amount) Amount {
	return Amount{a.Series - b.Series, max(a.SamplesPerSecond-b.SamplesPerSecond, 0),
		max(a.PageBytes-b.PageBytes, 0), max(a.Summed-b.Summed, 0)}
}

// amount sums metric names.
func (t *tally) amount(which func(n *nameTotal) bool) Amount {
	var a Amount
	bytes := 0.0
	for i := range t.byName {
		if n := &t.byName[i]; which(n) {
			a.Series += n.series
			a.Summed += n.summed
			a.SamplesPerSecond += n.rate
			bytes += n.bytes
		}
	}
	a.PageBytes = int64(bytes)
	return a
}

// dropFamily says what goes with a family, which may be given by the name of one of its series.
func (t *tally) dropFamily(name string) WhatIf {
	w := WhatIf{Question: "drop the family " + name, Fixes: []Fix{}}
	f := t.families[name]
	if f == nil {
		if i := slices.IndexFunc(t.byName, func(n nameTotal) bool { return n.name == name }); i >= 0 {
			name = t.byName[i].family
			f = t.families[name]
			w.Question = "drop the family " + name
		}
	}
	if f == nil {
		w.Unknown, w.Left = true, t.whole()
		w.Answer = fmt.Sprintf("No target shows a family %.100q.%s", name, similar(name, keys(t.families)))
		return w
	}
	w.Gone = t.amount(func(n *nameTotal) bool { return n.family == name })
	w.Left, w.Safe = t.whole().minus(w.Gone), true
	w.Answer = fmt.Sprintf("Without the family %s there are %s series less (%s of all), %s samples per second less, "+
		"and its %s need not be on the pages.", name, number(w.Gone.Series), percent(f.row.Share),
		decimal(w.Gone.SamplesPerSecond), size(w.Gone.PageBytes))
	w.Fixes = t.familyFixes(name, f, w.Gone)
	return w
}

// dropLabel counts the label sets that are left without a label, over all targets.
func (t *tally) dropLabel(ctx context.Context, label string, pages []scrape.LastPage, r *tableReader) (WhatIf, error) {
	w := WhatIf{Question: "drop the label " + label, Fixes: []Fix{}, Left: t.whole()}
	symbol, known := t.labels[label]
	if !known || label == model.MetricNameLabel {
		w.Unknown = true
		w.Answer = fmt.Sprintf("No series has a label %.100q.%s", label, similar(label, keys(t.labels)))
		return w, nil
	}
	row := t.tables[ByLabel][slices.IndexFunc(t.tables[ByLabel], func(r Row) bool { return r.Name == label })]
	after, err := countSets(ctx, pages, r, setsOf{without: []series.Symbol{symbol}}, t.totals.Series)
	if err != nil {
		return w, err
	}
	w.Safe = after.colliding == 0
	if !w.Safe { // some may have had the same labels before
		before, err := countSets(ctx, pages, r, setsOf{}, t.totals.Series)
		if err != nil {
			return w, err
		}
		w.Colliding, w.Shared = after.colliding-before.colliding, after.shared-before.shared
		w.Gone.Series = before.distinct - after.distinct
		w.Safe = w.Colliding == 0
		w.Shared = max(w.Shared, 0)
	}
	part := share(w.Gone.Series, t.totals.Series)
	w.Gone.SamplesPerSecond = t.totals.SamplesPerSecond * part
	w.Gone.PageBytes = row.PageBytes + int64(part*float64(t.totals.PageBytes-row.PageBytes))
	w.Left = t.whole().minus(w.Gone)
	if w.Safe {
		w.Answer = fmt.Sprintf("%s series have the label %s. Without it all %s series stay different, and its %s need "+
			"not be on the pages, as long as no page shows another value: a label such as response_code can collide "+
			"later.", number(row.Series), label, number(t.totals.Series), size(row.PageBytes))
	} else {
		w.Answer = fmt.Sprintf("Without the label %s %s of %s series remain. %s series would have the labels of "+
			"another one, so they must be summed, not dropped.", label, number(w.Left.Series),
			number(t.totals.Series), number(w.Colliding))
	}
	if n := t.totals.Without + t.totals.Others; n > 0 {
		w.Answer = fmt.Sprintf("Among the series of %s targets that were counted (%s were not): %s",
			number(t.totals.Targets), number(n), w.Answer)
		w.Partial, w.Safe = w.Safe, false
	}
	w.Fixes = t.labelFixes(label, w)
	return w, nil
}

// keepUsed says what goes if only the metrics stay that dashboards and rules use.
func (t *tally) keepUsed(ctx context.Context, u *Usage, m *usageMatcher) (WhatIf, error) {
	w := WhatIf{Question: "keep only what is used", Fixes: []Fix{}, Families: []string{}, Missing: []string{},
		Problems: u.Problems[:min(len(u.Problems), maxProblems)]}
	gone := map[string]bool{}
	keptOf := map[string]bool{} // families of which something stays
	for i := range t.byName {
		if err := ctx.Err(); err != nil { // patterns can be slow
			return w, err
		}
		n := &t.byName[i]
		if gone[n.name] = !m.matches(n.name); !gone[n.name] {
			keptOf[n.family] = true
		}
	}
	w.Gone = t.amount(func(n *nameTotal) bool { return gone[n.name] })
	w.Left, w.Missing = t.whole().minus(w.Gone), m.missing()
	named := map[string]bool{}
	bySize := slices.Clone(t.byName)
	slices.SortStableFunc(bySize, func(a, b nameTotal) int { return cmp.Compare(b.series, a.series) })
	for _, n := range bySize {
		name := n.family
		if keptOf[n.family] {
			name = n.name // only a part of the family goes
		}
		if gone[n.name] && !named[name] && len(w.Families) < maxNamed {
			named[name] = true
			w.Families = append(w.Families, name)
		}
	}
	for _, row := range t.tables[ByLabel] {
		if row.Name != "le" && !slices.Contains(u.Labels, row.Name) && len(w.UnusedLabels) < maxNamed {
			w.UnusedLabels = append(w.UnusedLabels, row.Name)
		}
	}
	slices.Sort(w.UnusedLabels)
	w.Safe = len(u.Problems) == 0
	w.Answer = fmt.Sprintf("%s %s metrics. %s of %s series would go (%s), and %s samples per second.",
		u.sources(), number(len(u.Names)+len(u.Patterns)), number(w.Gone.Series), number(t.totals.Series),
		percent(share(w.Gone.Series, t.totals.Series)), decimal(w.Gone.SamplesPerSecond))
	if n := len(w.Missing); n > 0 {
		w.Answer += fmt.Sprintf(" No target shows %s of the metrics used.", number(n))
	}
	if n := len(u.Problems); n > 0 {
		w.Answer += fmt.Sprintf(" %s expressions could not be read, and may use more: look at them first.", number(n))
	}
	w.Fixes = t.usedFixes(u, w.Gone)
	return w, nil
}

// similar returns a sentence with names that resemble one that does not exist; "" if there are none.
func similar(name string, all []string) string {
	type candidate struct {
		name string
		rank int
	}
	var best []candidate
	for _, other := range all {
		rank := commonPrefix(name, other)
		if strings.Contains(strings.ToLower(other), strings.ToLower(name)) {
			rank += 100
		}
		if rank >= 3 {
			best = append(best, candidate{other, rank})
		}
	}
	slices.SortFunc(best, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range best[:min(len(best), 3)] {
		names = append(names, c.name)
	}
	if len(names) == 0 {
		return ""
	}
	return " Similar names: " + strings.Join(names, ", ") + "."
}

func commonPrefix(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return all
}
