package internal_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestS15NoManifestMayProxy holds that the right to read pods through the API server is offered to people only: in
// deploy/rights, and in no template of the chart and no manifest.
func TestS15NoManifestMayProxy(t *testing.T) {
	files := 0
	for _, dir := range []string{"../deploy/helm", "../deploy/manifests"} {
		err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			text, err := os.ReadFile(dir + "/" + name)
			for _, right := range []string{"pods/proxy", "nodes/proxy", "pods/exec", "pods/portforward", "pods/*"} {
				if strings.Contains(string(text), right) {
					t.Errorf("%s/%s: has %s", dir, name, right)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Errorf("only %d files were read", files)
	}
	text, err := os.ReadFile("../deploy/rights/page-reader.yaml")
	if err != nil || !strings.Contains(string(text), "resources: [pods/proxy]\n  verbs: [get]\n") {
		t.Errorf("deploy/rights/page-reader.yaml does not offer get pods/proxy: %v", err)
	}
	if strings.Contains(string(text), "kind: RoleBinding") || strings.Contains(string(text), "ServiceAccount") {
		t.Error("deploy/rights/page-reader.yaml binds the role")
	}
}
