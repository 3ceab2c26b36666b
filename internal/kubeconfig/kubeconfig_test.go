package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const text = `apiVersion: v1
kind: Config
current-context: gone
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority: ca.crt}}]
users: [{name: u, user: {token: hunter2}}, {name: other, user: {token: hunter3}}]
contexts:
- {name: prod, context: {cluster: c, user: u, namespace: shop}}
- {name: dev, context: {cluster: c, user: other}}
- {name: nobody, context: {cluster: c}}
`

func write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	for path, content := range map[string]string{file: text, filepath.Join(dir, "ca.crt"): ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func TestRead(t *testing.T) {
	file := write(t)
	c, err := Read(file, "prod")
	if err != nil || c.Namespace != "shop" || c.REST.Host != "https://127.0.0.1:6443" ||
		c.REST.BearerToken != "hunter2" {
		t.Fatalf("config = %+v, %v", c, err)
	}
	if got, want := c.Who(), `user "u" of context "prod"`; got != want || c.IsCurrent {
		t.Errorf("who = %s, want %s; current: %v", got, want, c.IsCurrent)
	}
	if c, err = Read(file, "nobody"); err != nil || c.Who() != `no user, context "nobody"` {
		t.Errorf("config = %+v, %v", c, err)
	}
	for _, context := range []string{"", "stage"} {
		_, err = Read(file, context)
		if err == nil || !strings.HasSuffix(err.Error(), "choose one with --context: dev, nobody, prod") {
			t.Errorf("context %q: error = %v", context, err)
		}
	}
	if _, err = Read(file+".gone", ""); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error = %v", err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err = Read("", ""); err == nil || !strings.Contains(err.Error(), "there is no kubeconfig") {
		t.Errorf("error = %v", err)
	}
	if _, err = Read("", "prod"); err == nil || !strings.Contains(err.Error(), "there is no kubeconfig with contexts") {
		t.Errorf("error = %v", err)
	}
	t.Setenv("KUBECONFIG", file)
	if c, err = Read("", "dev"); err != nil || c.REST.BearerToken != "hunter3" {
		t.Errorf("of $KUBECONFIG: %+v, %v", c, err)
	}
}

// TestCopy: the copy has one context, no other user's credentials, and paths that hold where it is.
func TestCopy(t *testing.T) {
	file := write(t)
	c, err := Read(file, "prod")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := c.Copy(dir)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "hunter3") ||
		!strings.Contains(string(content), filepath.Join(filepath.Dir(file), "ca.crt")) {
		t.Errorf("the copy is\n%s", content)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := Read(path, "prod"); err != nil || !again.IsCurrent || again.REST.BearerToken != "hunter2" {
		t.Errorf("the copy is read as %+v, %v", again, err)
	}
	if got, want := Who(path), `user "u" of context "prod"`; got != want {
		t.Errorf("who = %s, want %s", got, want)
	}
	if got, want := ContextsOf(path), ": prod"; got != want {
		t.Errorf("contexts = %s, want %s", got, want)
	}
	if ContextsOf(path+".gone")+Who(path+".gone") != "" {
		t.Error("a file that does not exist has contexts")
	}
}
