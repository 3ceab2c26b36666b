package graphs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// dashboard is what is read of a Grafana dashboard.
type dashboard struct {
	Title      string
	Templating struct{ List []variable }
	Panels     []panel // a panel of type row is the heading of those behind it
}

type panel struct {
	Type, Title, Description string

	GridPos     struct{ W int } // the page has 24 columns
	FieldConfig struct {
		Defaults  struct{ Unit string }
		Overrides []override
	}
	Targets []target
	Panels  []panel // of a row that is folded
}

// target is a query of a panel.
type target struct {
	RefID        string `json:"refId"`
	Expr         string
	LegendFormat string
}

// override changes properties of the fields that its matcher selects, for example the unit of "Value #p50".
type override struct {
	Matcher    struct{ Options any }
	Properties []struct {
		ID    string
		Value any
	}
}

// readFolders reads all dashboards of the folders, in the order of the folders, then of the files' names.
func readFolders(folders []string) ([]dashboard, error) {
	var all []dashboard
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s has no dashboards (*.json)", folder)
		}
		for _, file := range files {
			d, err := readDashboard(file)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}

func readDashboard(file string) (dashboard, error) {
	var d dashboard
	content, err := os.ReadFile(file)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(content, &d); err != nil {
		return d, fmt.Errorf("%s: %w", file, err)
	}
	if d.Title == "" || len(d.Panels) == 0 {
		return d, fmt.Errorf("%s is not a Grafana dashboard: it has no title or no panels", file)
	}
	return d, nil
}
