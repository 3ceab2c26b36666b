// Command mixin writes the dashboards that stand beside alerts.yaml: deploy/mixin/dashboards/*.json.
//
//	go run ./deploy/mixin deploy/mixin/dashboards
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mixin FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mixin:", err)
		os.Exit(1)
	}
}

// write writes each dashboard to a file of dir that is called as its uid.
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

// encode leaves > and < in queries readable.
func encode(d dashboard) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(d)
	return b.Bytes(), err
}
