package locate

import (
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

func TestRefusalsLocateEveryErrorAndKeepTheRest(t *testing.T) {
	var doc yaml.Node
	text := "name: a\nfoo: 1\nports:\n- 1\n- many\n- 3\nlimit: x\n"
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	type job struct {
		Name  string `yaml:"name"`
		Ports []int  `yaml:"ports"`
		Limit int    `yaml:"limit"`
	}
	p := NewPart(doc.Content[0], "jobs[0]", func(n *yaml.Node) error { return yamltree.DecodeStrict(n, new(job)) })
	accepted, refused := p.Refusals()
	var got []Position
	for _, r := range refused {
		got = append(got, p.Position(r.Node))
	}
	for _, want := range []Position{{"jobs[0].foo", 2}, {"jobs[0].ports[1]", 5}, {"jobs[0].limit", 7}} {
		if !slices.Contains(got, want) {
			t.Errorf("refused %v, want also %v", got, want)
		}
	}
	if len(got) != 3 {
		t.Errorf("refused %v, want 3 values", got)
	}
	var rest job
	if err := accepted.Decode(&rest); err != nil || rest.Name != "a" || !slices.Equal(rest.Ports, []int{1, 3}) {
		t.Errorf("accepted %+v (%v), want name a and ports 1 and 3", rest, err)
	}
	if line := p.LineOf("jobs[0].limit"); line != 7 {
		t.Errorf("line of limit = %d, want 7", line)
	}
}

func TestARefusedRootLeavesNothing(t *testing.T) {
	root := yamltree.String("x")
	p := NewPart(root, "jobs[0]", func(n *yaml.Node) error { return yamltree.DecodeStrict(n, new(struct{})) })
	if accepted, refused := p.Refusals(); accepted != nil || len(refused) != 1 || refused[0].Node != root {
		t.Errorf("accepted %v, refused %v; want only the root refused", accepted, refused)
	}
}
