package graphs

import (
	"context"
	"regexp"
	"slices"
)

// Dashboard is a dashboard in the form that vmui reads: a tab with rows that fold.
type Dashboard struct {
	Title string `json:"title"`
	Rows  []Row  `json:"rows"`
}

// Row is a row of panels. vmui unfolds the first one of a dashboard.
type Row struct {
	Title  string  `json:"title"`
	Panels []Panel `json:"panels"`
}

// Panel is a graph.
type Panel struct {
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Unit        string   `json:"unit,omitempty"`
	Expr        []string `json:"expr"`
	Alias       []string `json:"alias"` // legends of the expressions; empty: the labels
	ShowLegend  bool     `json:"showLegend"`
	Width       int      `json:"width"` // of 12 columns
}

// Dashboards reads the Grafana dashboards of the folders and converts them. It leaves out panels without data: a
// workload without TCP has no TCP panels, a mesh without ztunnels has no dashboard of them. Of the rows that differ
// only in the values of variables, the one with the most panels is the first.
func Dashboards(ctx context.Context, q Querier, folders []string) ([]Dashboard, error) {
	read, err := readFolders(folders)
	if err != nil {
		return nil, err
	}
	var all []Dashboard
	for _, d := range read {
		choices, err := d.choices(ctx, q)
		if err != nil {
			return nil, err
		}
		converted := d.convert(choices)
		converted.Rows = withData(ctx, q, converted.Rows)
		if len(choices) > 1 { // vmui unfolds the first row only
			slices.SortStableFunc(converted.Rows, func(a, b Row) int { return len(b.Panels) - len(a.Panels) })
		}
		if len(converted.Rows) > 0 {
			all = append(all, converted)
		}
	}
	return all, ctx.Err()
}

// convert converts the dashboard. Each choice of values becomes a row. A dashboard without a choice keeps its rows.
func (d *dashboard) convert(choices []choice) Dashboard {
	converted := Dashboard{Title: d.Title}
	for _, c := range choices {
		rows := d.rows(c.values)
		if c.title != "" {
			one := Row{Title: c.title}
			for _, r := range rows {
				one.Panels = append(one.Panels, r.Panels...)
			}
			rows = []Row{one}
		}
		converted.Rows = append(converted.Rows, rows...)
	}
	return converted
}

// rows converts the dashboard's rows with one choice of values.
func (d *dashboard) rows(values map[string]string) []Row {
	var rows []Row
	add := func(p panel) {
		if len(rows) == 0 {
			rows = append(rows, Row{Title: "Overview"})
		}
		last := &rows[len(rows)-1]
		last.Panels = append(last.Panels, p.convert(values)...)
	}
	for _, p := range d.Panels {
		if p.Type != "row" {
			add(p)
			continue
		}
		rows = append(rows, Row{Title: fill(p.Title, values)})
		for _, inside := range p.Panels {
			add(inside)
		}
	}
	return slices.DeleteFunc(rows, func(r Row) bool { return len(r.Panels) == 0 })
}

// convert converts a panel: none for a text, one graph for each query of a table, otherwise one graph.
func (p *panel) convert(values map[string]string) []Panel {
	if len(p.Targets) == 0 {
		return nil
	}
	graph := Panel{
		Title: fill(p.Title, values), Description: p.Description, ShowLegend: true,
		Width: min(max((p.GridPos.W+1)/2, 4), 12),
	}
	if p.Type != "table" {
		graph.add(p.Targets, p.FieldConfig.Defaults.Unit, values)
		if p.Type == "stat" && graph.Alias[0] == "" {
			graph.Alias[0] = graph.Title
		}
		return []Panel{graph}
	}
	var columns []Panel
	for _, t := range p.Targets {
		name, unit := p.column(t)
		column := graph
		column.Title, column.Width = graph.Title+": "+name, 4
		column.add([]target{t}, unit, values)
		columns = append(columns, column)
	}
	return columns
}

// add adds the queries to a panel whose numbers have Grafana's unit.
func (p *Panel) add(targets []target, grafanaUnit string, values map[string]string) {
	p.Unit = unit(grafanaUnit)
	for _, t := range targets {
		expr := fill(t.Expr, values)
		if grafanaUnit == "percentunit" {
			expr = "100 * (" + expr + ")"
		}
		p.Expr = append(p.Expr, expr)
		p.Alias = append(p.Alias, legend(fill(t.LegendFormat, values)))
	}
}

// column returns the name and the unit of a table's column. Grafana calls the numbers of query A "Value #A".
func (p *panel) column(t target) (name, unit string) {
	name, unit = t.RefID, p.FieldConfig.Defaults.Unit
	for _, o := range p.FieldConfig.Overrides {
		if o.Matcher.Options != "Value #"+t.RefID {
			continue
		}
		for _, property := range o.Properties {
			value, _ := property.Value.(string)
			switch property.ID {
			case "displayName":
				name = value
			case "unit":
				unit = value
			}
		}
	}
	return name, unit
}

// unit returns what vmui writes behind a number.
func unit(grafana string) string {
	switch grafana {
	case "none", "short":
		return ""
	case "ops":
		return "op/s"
	case "reqps", "qps":
		return "req/s"
	case "cps":
		return "/s"
	case "Bps":
		return "B/s"
	case "bps":
		return "bit/s"
	case "bytes", "decbytes":
		return "B"
	case "percent", "percentunit":
		return "%"
	case "d":
		return "days"
	default:
		return grafana
	}
}

var labelInLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend converts a legend. vmui does not take {{ name }} with spaces.
func legend(grafana string) string {
	if grafana == "__auto" {
		return ""
	}
	return labelInLegend.ReplaceAllString(grafana, "{{$1}}")
}

// withData leaves out the panels without data.
func withData(ctx context.Context, q Querier, rows []Row) []Row {
	var left []Row
	for _, r := range rows {
		empty := func(p Panel) bool { return !p.hasData(ctx, q) }
		if r.Panels = slices.DeleteFunc(slices.Clone(r.Panels), empty); len(r.Panels) > 0 {
			left = append(left, r)
		}
	}
	return left
}

// hasData reports whether one of the panel's queries returns a number. A query that Prometheus refuses counts, too:
// vmui shows the error.
func (p *Panel) hasData(ctx context.Context, q Querier) bool {
	has, err := hasNumber(ctx, q, p.Expr)
	return has || err != nil
}
