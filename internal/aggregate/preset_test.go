package aggregate

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestPresetsAreThoseOfTheChart: cost counts what the chart switches on.
func TestPresetsAreThoseOfTheChart(t *testing.T) {
	template, err := os.ReadFile("../../deploy/helm/envoy-scraper/templates/_config.tpl")
	if err != nil {
		t.Fatal(err)
	}
	const list = `list((?:\s+"[^"]+")+)`
	find := regexp.MustCompile(`(?s)\$without := ` + list + `.*"istio-lean".*concat \$without \(` + list + `\)`).
		FindSubmatch(template)
	if find == nil || !regexp.MustCompile(`"match" "istio_\.\*"`).Match(template) {
		t.Fatal("the chart has other presets")
	}
	var labels [2][]string
	for i := range labels {
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllSubmatch(find[i+1], -1) {
			labels[i] = append(labels[i], string(m[1]))
		}
	}
	for name, want := range map[string][]string{"istio": labels[0], "istio-lean": append(labels[0], labels[1]...)} {
		if p, ok := PresetOf(name); !ok || !slices.Equal(p.Without, want) || p.Match != "istio_.*" {
			t.Errorf("%s is %+v, the chart's is without %v", name, p, want)
		}
	}
	if _, ok := PresetOf("none"); ok || len(Presets()) != 2 {
		t.Error("there is another preset")
	}
}
