package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Right is what an account may do with resources of the core API group.
type Right struct {
	Namespace string // empty: all namespaces
	Resources []string
	Verbs     []string
}

// Reading returns the right to read resources as discovery does: get, list and watch.
func Reading(namespace string, resources ...string) Right {
	return Right{namespace, resources, []string{"get", "list", "watch"}}
}

// CreateAccount creates a service account with these rights alone, and returns a token for it.
func (c *Cluster) CreateAccount(ctx context.Context, namespace, name string, rights ...Right) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.admin.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("create service account %s/%s: %w", namespace, name, err)
	}
	for _, r := range rights {
		if err := c.grant(ctx, namespace, name, r); err != nil {
			return "", fmt.Errorf("grant %v to %s/%s: %w", r, namespace, name, err)
		}
	}
	return c.Token(ctx, namespace, name)
}

// grant creates a role and its binding to the account. Both have the account's name.
func (c *Cluster) grant(ctx context.Context, namespace, account string, r Right) error {
	name := metav1.ObjectMeta{Name: account}
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: r.Resources, Verbs: r.Verbs}}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}}
	api := c.admin.RbacV1()
	if r.Namespace == "" {
		_, err := api.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: name, Rules: rules},
			metav1.CreateOptions{})
		if err != nil {
			return err
		}
		_, err = api.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: name, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: account},
		}, metav1.CreateOptions{})
		return err
	}
	_, err := api.Roles(r.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: name, Rules: rules}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = api.RoleBindings(r.Namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: name, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
	}, metav1.CreateOptions{})
	return err
}

// Token requests a token for a service account, valid for an hour.
func (c *Cluster) Token(ctx context.Context, namespace, account string) (string, error) {
	seconds := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	got, err := c.admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token of %s/%s: %w", namespace, account, err)
	}
	return got.Status.Token, nil
}

// Client returns a client that authenticates with the token only.
func (c *Cluster) Client(token string) (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(&rest.Config{
		Host:            c.URL(),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile()},
	})
}

// AdminToken returns a bearer token with all rights.
func (c *Cluster) AdminToken() string { return c.adminKey }

// WriteKubeconfig writes a kubeconfig with only the server, its certificate and the token. It returns the file's path.
func (c *Cluster) WriteKubeconfig(name, token string) (string, error) {
	ca, err := os.ReadFile(c.CAFile())
	if err != nil {
		return "", err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["e2e"] = &clientcmdapi.Cluster{Server: c.URL(), CertificateAuthorityData: ca}
	cfg.AuthInfos["token"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: "token"}
	cfg.CurrentContext = "e2e"
	path := filepath.Join(c.cfg.Dir, name)
	return path, clientcmd.WriteToFile(*cfg, path)
}
