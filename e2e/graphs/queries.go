package graphs

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Query is a query of a panel.
type Query struct {
	Dashboard, Panel string   // titles
	Exprs            []string // the expression for each choice of the variables' values
}

// Queries reads the Grafana dashboards of the folders and returns the queries of all their panels, with the variables
// filled in. A variable without a value is an error.
func Queries(ctx context.Context, q Querier, folders []string) ([]Query, error) {
	dashboards, err := readFolders(folders)
	if err != nil {
		return nil, err
	}
	var all []Query
	for _, d := range dashboards {
		choices, err := d.choices(ctx, q)
		if err != nil {
			return nil, err
		}
		if len(choices) == 0 {
			return nil, fmt.Errorf("%s: a variable has no values", d.Title)
		}
		first := len(all) // the queries of all choices have the same order
		for _, c := range choices {
			next := first
			for _, r := range d.rows(c.values) {
				for _, p := range r.Panels {
					for _, expr := range p.Expr {
						if next == len(all) {
							all = append(all, Query{Dashboard: d.Title, Panel: p.Title})
						}
						all[next].Exprs = append(all[next].Exprs, expr)
						next++
					}
				}
			}
		}
	}
	return all, nil
}

// Unanswered repeats the queries until each has data for one of its expressions, except those that mayBeEmpty names. A
// rate needs two samples of a series that may be new. It returns the queries that have no data, after the given time at
// the latest. A query that is refused is an error.
func Unanswered(ctx context.Context, q Querier, queries []Query, within time.Duration,
	mayBeEmpty func(Query) bool) ([]Query, error) {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var open []Query
		for _, query := range queries {
			has, err := hasNumber(ctx, q, query.Exprs)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", query.Dashboard, query.Panel, err)
			}
			if !has {
				open = append(open, query)
			}
		}
		if queries = open; !slices.ContainsFunc(open, func(query Query) bool { return !mayBeEmpty(query) }) {
			return open, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return open, nil
		}
	}
}

// hasNumber reports whether one of the expressions returns a number.
func hasNumber(ctx context.Context, q Querier, exprs []string) (bool, error) {
	for _, expr := range exprs {
		vector, err := q.Query(ctx, expr)
		if err != nil {
			return false, err
		}
		for _, s := range vector {
			if !math.IsNaN(float64(s.Value)) {
				return true, nil
			}
		}
	}
	return false, nil
}
