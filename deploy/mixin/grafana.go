package main

// schemaVersion is the version that Grafana 10.2 writes. Later versions of Grafana convert it when they load it.
const schemaVersion = 39

// These types are the part of Grafana's dashboard JSON that is needed here.
type (
	dashboard struct {
		UID           string    `json:"uid"`
		Title         string    `json:"title"`
		Description   string    `json:"description"`
		Tags          []string  `json:"tags"`
		SchemaVersion int       `json:"schemaVersion"`
		Editable      bool      `json:"editable"`
		GraphTooltip  int       `json:"graphTooltip"` // 1: one crosshair for all panels
		Refresh       string    `json:"refresh"`
		Time          timeRange `json:"time"`
		Templating    struct {
			List []variable `json:"list"`
		} `json:"templating"`
		Panels []panel `json:"panels"`
	}
	timeRange struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	variable struct {
		Name       string   `json:"name"`
		Label      string   `json:"label"`
		Type       string   `json:"type"` // datasource, query or custom
		Query      string   `json:"query"`
		Regex      string   `json:"regex,omitempty"`
		Refresh    int      `json:"refresh,omitempty"` // 2: whenever the time range changes
		Sort       int      `json:"sort,omitempty"`
		Multi      bool     `json:"multi,omitempty"`
		IncludeAll bool     `json:"includeAll,omitempty"`
		Source     *source  `json:"datasource,omitempty"`
		Current    *current `json:"current,omitempty"`
	}
	current struct {
		Text  string `json:"text"`
		Value string `json:"value"`
	}
	source struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	panel struct {
		ID          int          `json:"id"`
		Type        string       `json:"type"`
		Title       string       `json:"title"`
		Description string       `json:"description,omitempty"`
		GridPos     place        `json:"gridPos"`
		Source      *source      `json:"datasource,omitempty"`
		FieldConfig *fieldConfig `json:"fieldConfig,omitempty"`
		Targets     []target     `json:"targets,omitempty"`
	}
	place struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	fieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
			Min  *int   `json:"min,omitempty"`
		} `json:"defaults"`
		Overrides []struct{} `json:"overrides"`
	}
	target struct {
		RefID  string `json:"refId"`
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
		Source source `json:"datasource"`
	}
)

var fromVariable = source{Type: "prometheus", UID: "${datasource}"}

func newDashboard(uid, title, description string, variables ...variable) dashboard {
	d := dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"envoy-scraper"},
		SchemaVersion: schemaVersion, GraphTooltip: 1, Refresh: "30s", Time: timeRange{From: "now-1h", To: "now"},
	}
	choice := variable{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"}
	d.Templating.List = append([]variable{choice}, variables...)
	return d
}

// ask returns a variable with the values that regex finds in the answer to query, a Grafana variable query.
func ask(name, label, query, regex string) variable {
	return variable{
		Name: name, Label: label, Type: "query", Query: query, Regex: regex, Refresh: 2, Sort: 1, Source: &fromVariable,
	}
}

// several returns v with several values to choose from; at first all are chosen.
func (v variable) several() variable {
	v.Multi, v.IncludeAll = true, true
	v.Current = &current{Text: "All", Value: "$__all"}
	return v
}

// A query is an expression, and the template for the names of its series.
type query struct{ expr, legend string }

// row starts a row of panels with a heading.
func (d *dashboard) row(title string) {
	d.add(panel{Type: "row", Title: title, GridPos: place{H: 1, W: 24}})
}

// graph adds a panel over time, a third of the page wide.
func (d *dashboard) graph(title, unit, description string, queries ...query) {
	d.addData(panel{Type: "timeseries", Title: title, Description: description, GridPos: place{H: 8, W: 8}}, unit,
		queries)
}

// stat adds a panel with one number, a sixth of the page wide.
func (d *dashboard) stat(title, unit, expr string) {
	d.addData(panel{Type: "stat", Title: title, GridPos: place{H: 4, W: 4}}, unit, []query{{expr: expr}})
}

func (d *dashboard) addData(p panel, unit string, queries []query) {
	p.Source = &fromVariable
	p.FieldConfig = &fieldConfig{Overrides: []struct{}{}}
	p.FieldConfig.Defaults.Unit = unit
	p.FieldConfig.Defaults.Min = new(int)
	for i, q := range queries {
		p.Targets = append(p.Targets,
			target{RefID: string(rune('A' + i)), Expr: q.expr, Legend: q.legend, Source: fromVariable})
	}
	d.add(p)
}

// add gives the panel its id and its place: to the right of the previous panel if there is room, else below.
func (d *dashboard) add(p panel) {
	p.ID = len(d.Panels) + 1
	if len(d.Panels) > 0 {
		last := d.Panels[len(d.Panels)-1].GridPos
		p.GridPos.X, p.GridPos.Y = last.X+last.W, last.Y
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H != last.H {
			p.GridPos.X, p.GridPos.Y = 0, last.Y+last.H
		}
	}
	d.Panels = append(d.Panels, p)
}
