// Command mixin writes the dashboards, deploy/mixin/dashboards/*.json, and copies of the dashboards and of alerts.yaml
// into the Helm chart. A chart can read only files of its own folder.
//
//	go run ./deploy/mixin deploy/mixin/dashboards deploy/helm/envoy-scraper/files
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed alerts.yaml
var alerts []byte

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mixin DASHBOARDS [CHART-FILES]")
		os.Exit(2)
	}
	err := write(os.Args[1])
	if err == nil && len(os.Args) == 3 {
		err = writeChart(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mixin:", err)
		os.Exit(1)
	}
}

// writeChart writes the files of which the chart makes its PrometheusRule and the ConfigMaps of dashboards.
func writeChart(dir string) error {
	dashboards := filepath.Join(dir, "dashboards")
	if err := os.MkdirAll(dashboards, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "alerts.yaml"), alerts, 0o644); err != nil {
		return err
	}
	return write(dashboards)
}

// write writes each dashboard to UID.json in dir.
func write(dir string) error {
	for _, d := range dashboards() {
		content, err := encode(d)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, d.UID+".json"), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func dashboards() []dashboard {
	return []dashboard{scraperDashboard(), workloadDashboard(), serviceDashboard(), envoyDashboard()}
}

// encode returns the JSON of a dashboard. The characters > and < in queries stay readable.
func encode(d dashboard) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(d)
	return b.Bytes(), err
}
