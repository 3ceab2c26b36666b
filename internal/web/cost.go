package web

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	Tabs    []choice
	Columns []columnView
	Rows    []costRow
	Pager   pager
}

type costRow struct {
	Name  string
	Link  string // see behind; empty: none
	Cells []string
}

func (s *Server) cost(w http.ResponseWriter, r *http.Request) {
	format, ok := s.format(w, r)
	if !ok {
		return
	}
	mostRows := math.MaxInt // for programs, package cost has a limit
	if format == formatHTML {
		mostRows = largePage
	}
	report, query, code, err := s.costReport(w, r, mostRows)
	switch format {
	case formatJSON:
		s.writeCostJSON(w, report, code, err)
		return
	case formatText:
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
		p.addTable()
	}
	s.render(w, "cost.html", &p)
}

func (s *Server) apiCost(w http.ResponseWriter, r *http.Request) {
	report, _, code, err := s.costReport(w, r, math.MaxInt)
	s.writeCostJSON(w, report, code, err)
}

// costReport answers the query of a request, which may be in its form. The report has at most mostRows rows. code is
// the status of an error.
func (s *Server) costReport(
	w http.ResponseWriter, r *http.Request, mostRows int,
) (_ *cost.Report, _ cost.Query, code int, _ error) {
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
	query.Rows = min(query.Rows, mostRows)
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

// values returns the parameters that ask for a query on this page.
func (p *costPage) values(q cost.Query) url.Values {
	v := q.Values()
	if p.Refresh > 0 {
		v.Set("refresh", strconv.Itoa(p.Refresh))
	}
	return v
}

func (p *costPage) link(q cost.Query) string { return "?" + p.values(q).Encode() }

// Twin returns the link to the same report in another format.
func (p *costPage) Twin(format string) string {
	v := p.Report.Query.Values()
	v.Set("format", format)
	return "?" + v.Encode()
}

func (p *costPage) addTabs(q cost.Query) {
	for _, by := range cost.Tables() {
		other := cost.Query{By: by, Sort: "series", Page: 1, Rows: q.Rows}
		other.DropFamily, other.DropLabel = q.DropFamily, q.DropLabel
		other.Aggregate, other.Without = q.Aggregate, q.Without
		p.Tabs = append(p.Tabs, choice{Text: tabText(by), Link: p.link(other) + "#table", Current: by == q.By})
	}
	plain := q
	plain.DropFamily, plain.DropLabel, plain.Aggregate, plain.Without = "", "", "", ""
	p.Without = p.link(plain)
	plain.Search, plain.Page = "", 1
	fields := p.values(plain)
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

// addTable adds the report's table. Its query has the number of a page that there is.
func (p *costPage) addTable() {
	q := p.Report.Query
	columns := p.Report.Columns()
	for i, c := range columns {
		sorted := q
		sorted.Sort, sorted.Page, sorted.Ascending = c.Key, 1, c.Key == "name"
		head := columnView{Text: c.Text, Number: i > 0}
		if c.Key == q.Sort {
			sorted.Ascending, head.Sorted = !q.Ascending, "descending"
			if q.Ascending {
				head.Sorted = "ascending"
			}
		}
		head.Link = p.link(sorted) + "#table"
		p.Columns = append(p.Columns, head)
	}
	for i := range p.Report.Rows {
		r := &p.Report.Rows[i]
		row := costRow{Name: r.Name, Link: p.behind(q, r.Name)}
		for _, c := range columns[1:] {
			row.Cells = append(row.Cells, r.Cell(c.Key))
		}
		p.Rows = append(p.Rows, row)
	}
	p.Pager = newPager(p.Report.Found, q.Page, q.Rows, func(page, rows int) string {
		q.Page, q.Rows = page, rows
		return p.link(q) + "#table"
	})
}

// behind returns the link of a row: what if the family or label were not there, or the evidence of the pod, or the
// targets of the job.
func (p *costPage) behind(q cost.Query, name string) string {
	q.Aggregate, q.Without = "", ""
	switch q.By {
	case cost.ByFamily:
		q.DropFamily, q.DropLabel = name, ""
		return p.link(q)
	case cost.ByLabel:
		q.DropLabel, q.DropFamily = name, ""
		return p.link(q)
	case cost.ByPod:
		if strings.Contains(name, "/") { // else it is the address of a target that is no pod
			return "pods" + podLink(selection{}, name)
		}
	case cost.ByJob:
		return "targets" + withValues("job", name)
	}
	return ""
}
