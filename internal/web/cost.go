package web

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
)

// maxCostForm is how long the form of a question may be: it can list what some hundred dashboards use.
const maxCostForm = 4 << 20

// maxCostTime is how long a report may take, with the wait for another one. It takes a second for a large mesh, and
// longer only with patterns that are made to be slow.
const maxCostTime = time.Minute

// costPage shows what series cost, as a table, and answers questions about doing without some of them.
type costPage struct {
	frame
	Report  *cost.Report // nil: Err says why
	Err     string
	Query   cost.Query
	Hidden  []pair // the query as fields of the forms, without what the forms ask
	Without string // link to the same table without questions
	JSON    string // link to the same report
	Tabs    []costTab
	Columns []costColumn
	Rows    []costRow
	Pager   pager
}

type costTab struct {
	Text, Link string
	Current    bool
}

// costColumn is a column's head. Its link sorts by it.
type costColumn struct {
	Text, Link string
	Sort       string // the value of aria-sort; empty: the table is not sorted by it
}

type costRow struct {
	Name  string
	Link  string // asks what if it were not there; empty: there is no such question
	Cells []string
}

func (s *Server) cost(w http.ResponseWriter, r *http.Request) {
	report, query, code, err := s.costReport(w, r)
	w.Header().Add("Vary", "Accept")
	switch accepted(r) {
	case "application/json":
		s.writeCostJSON(w, report, code, err)
		return
	case "text/plain":
		s.writeCostText(w, report, code, err)
		return
	}
	p := costPage{frame: s.frame(r, "Cost", "cost"), Report: report, Query: query}
	if err != nil {
		p.Err = maskURLs(err.Error())
		query, _ = cost.ParseQuery(nil)
		w.WriteHeader(code)
	}
	p.addTabs(query)
	if report != nil {
		p.addTable(query)
	}
	s.render(w, "cost.html", p)
}

func (s *Server) apiCost(w http.ResponseWriter, r *http.Request) {
	report, _, code, err := s.costReport(w, r)
	if accepted(r) == "text/plain" {
		s.writeCostText(w, report, code, err)
		return
	}
	s.writeCostJSON(w, report, code, err)
}

// costReport answers the query of a request, which may be in its form. code is the status if there is an error.
func (s *Server) costReport(w http.ResponseWriter, r *http.Request) (*cost.Report, cost.Query, int, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxCostForm)
	if err := r.ParseForm(); err != nil {
		return nil, cost.Query{}, http.StatusBadRequest, err
	}
	if inURL := r.URL.Query(); inURL.Has("used_file") || inURL.Has("used_pattern") || inURL.Has("used") {
		return nil, cost.Query{}, http.StatusBadRequest,
			errors.New("used, used_file, used_pattern: give them in the form of a POST request, not in the URL")
	}
	query, err := cost.ParseQuery(r.Form)
	if err != nil {
		return nil, query, http.StatusBadRequest, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxCostTime)
	defer cancel()
	report, err := s.src.Cost(ctx, query)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, query, http.StatusServiceUnavailable, err
	case err != nil:
		return nil, query, http.StatusBadRequest, err
	}
	for i := range report.Rows {
		report.Rows[i].Name = maskURLs(report.Rows[i].Name)
	}
	for i := range report.WhatIf {
		a := &report.WhatIf[i]
		a.Question, a.Answer = maskURLs(a.Question), maskURLs(a.Answer)
		for j := range a.Problems {
			a.Problems[j] = maskURLs(a.Problems[j])
		}
	}
	return report, query, http.StatusOK, nil
}

func (s *Server) writeCostJSON(w http.ResponseWriter, report *cost.Report, code int, err error) {
	if err != nil {
		s.apiError(w, code, "bad_data", err)
		return
	}
	s.apiData(w, report)
}

func (s *Server) writeCostText(w http.ResponseWriter, report *cost.Report, code int, err error) {
	var b bytes.Buffer
	if err == nil {
		err = report.WriteText(&b)
	}
	if err != nil {
		http.Error(w, maskURLs(err.Error()), code)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(b.Bytes())
}

// accepted returns the form that a request asks for before all others: JSON, text, or else HTML.
func accepted(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	first, _, _ = strings.Cut(first, ";")
	switch first = strings.TrimSpace(first); first {
	case "application/json", "text/plain":
		return first
	}
	return "text/html"
}

// costLink returns the link to a query on this page.
func costLink(q cost.Query) string {
	if v := q.Values().Encode(); v != "" {
		return "cost?" + v
	}
	return "cost"
}

func (p *costPage) addTabs(q cost.Query) {
	for _, by := range cost.Tables() {
		other := cost.Query{By: by, Sort: "series", Page: 1, Rows: q.Rows}
		other.DropFamily, other.DropLabel = q.DropFamily, q.DropLabel
		p.Tabs = append(p.Tabs, costTab{Text: tabText(by), Link: costLink(other), Current: by == q.By})
	}
	p.JSON = "api/v1/" + costLink(q)
	plain := q
	plain.DropFamily, plain.DropLabel = "", ""
	p.Without = costLink(plain)
	plain.Search, plain.Page = "", 1
	fields := plain.Values()
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		p.Hidden = append(p.Hidden, pair{key, fields.Get(key)})
	}
}

func tabText(by cost.By) string {
	switch by {
	case cost.ByFamily:
		return "Families"
	case cost.ByDropped:
		return "Dropped by rules"
	default:
		return strings.ToUpper(string(by[:1])) + string(by[1:]) + "s"
	}
}

func (p *costPage) addTable(q cost.Query) {
	columns := cost.Columns(q.By)
	for _, c := range columns {
		sorted := q
		sorted.Sort, sorted.Page, sorted.Ascending = c.Key, 1, c.Key == "name"
		head := costColumn{Text: c.Text}
		if c.Key == q.Sort {
			sorted.Ascending, head.Sort = !q.Ascending, "descending"
			if q.Ascending {
				head.Sort = "ascending"
			}
		}
		head.Link = costLink(sorted)
		p.Columns = append(p.Columns, head)
	}
	for i := range p.Report.Rows {
		r := &p.Report.Rows[i]
		row := costRow{Name: r.Name}
		asked := q
		switch q.By {
		case cost.ByFamily:
			asked.DropFamily, asked.DropLabel = r.Name, ""
			row.Link = costLink(asked)
		case cost.ByLabel:
			asked.DropLabel, asked.DropFamily = r.Name, ""
			row.Link = costLink(asked)
		}
		for _, c := range columns[1:] {
			row.Cells = append(row.Cells, r.Cell(c.Key))
		}
		p.Rows = append(p.Rows, row)
	}
	p.Pager = costPager(q, p.Report.Found, len(p.Rows))
}

func costPager(q cost.Query, found, shown int) pager {
	from := q.From()
	p := pager{Page: q.Page, Pages: max(1, (found+q.Rows-1)/q.Rows), From: from + 1, To: from + shown, Total: found}
	at := func(page int) string { q.Page = page; return costLink(q) }
	if q.Page > 1 {
		p.First, p.Prev = at(1), at(min(q.Page-1, p.Pages))
	}
	if p.Page < p.Pages {
		p.Next, p.Last = at(p.Page+1), at(p.Pages)
	}
	return p
}
