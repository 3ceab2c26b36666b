package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAliasesAreBounded(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i,
			strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	for name, text := range map[string]string{"bomb": bomb, "itself": "a: &a\n  b: *a\n"} {
		if problems := refused(t, Options{}, text); len(problems) != 1 || problems[0].Line == 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// One bad target among many is located in a short time. Programs write such files.
func TestManyTargets(t *testing.T) {
	var b strings.Builder
	b.WriteString(someRemote + "scrape_configs:\n- job_name: a\n  static_configs:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  - targets: ['10.0.%d.%d:15090']\n    labels: {pod: p%d}\n", i/250, i%250, i)
	}
	b.WriteString("  - targets: ['http://a/b']\n  sample_limit: many\n")
	start := time.Now()
	problems := refused(t, Options{}, b.String())
	if len(problems) != 2 || !strings.HasPrefix(problems[0].Key, "scrape_configs[0].static_configs") ||
		problems[1].Key != "scrape_configs[0].sample_limit" {
		t.Errorf("problems = %v", problems)
	}
	t.Logf("took %v", time.Since(start))
}

func TestEveryProblemOfAJob(t *testing.T) {
	problems := refused(t, Options{}, someRemote+`scrape_configs:
- job_name: a
  foo: 1
  bar: 2
  scrape_interval: often
  relabel_configs:
  - regex: '('
    target_label: x
  - regex: '('
    target_label: y
  - action: kep
  metric_relabel_configs:
  - action: keep
  - {action: labeldrop, regex: '['}
`)
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d %s", p.Line, strings.TrimPrefix(p.Key, "scrape_configs[0].")))
	}
	want := []string{
		"4 foo", "5 bar", "6 scrape_interval", "8 relabel_configs[0].regex", "10 relabel_configs[1].regex",
		"12 relabel_configs[2].action", "15 metric_relabel_configs[1].regex",
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("problems = %q, want also %q", got, w)
		}
	}
}
