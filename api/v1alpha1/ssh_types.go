package v1alpha1

// SSHTarget is an SSH server behind the gate.
//
// +kubebuilder:validation:XValidation:rule="has(self.hostKeys) || has(self.hostCAs)",message="hostKeys or hostCAs must be set: the server's key is always verified"
// +kubebuilder:validation:XValidation:rule="[has(self.userCA), has(self.key)].exists_one(x, x)",message="exactly one of userCA and key must be set"
type SSHTarget struct {
	// host is a DNS name or IP address that the proxy can reach, for example
	// "orders-host.shop.svc".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$`
	// +required
	Host string `json:"host"`

	// port of the server; 1 to 65535.
	// +kubebuilder:default=22
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// hostKeys are the public keys that the server may prove its identity by, as in
	// /etc/ssh/ssh_host_ed25519_key.pub: "ssh-ed25519 AAAA…". 1 to 8. Nothing is trusted on
	// first use.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=4096
	// +optional
	HostKeys []string `json:"hostKeys,omitempty"`

	// hostCAs are the public keys of authorities whose host certificates for host the gate
	// accepts. 1 to 8.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=4096
	// +optional
	HostCAs []string `json:"hostCAs,omitempty"`

	// logins are the accounts of the server that grants may name, for example ["deploy"]; 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?$`
	// +required
	Logins []string `json:"logins"`

	// userCA has the proxy sign a certificate for each session, valid for minutes. It is the
	// recommended way: no key of the account is held anywhere.
	// +optional
	UserCA *SSHUserCA `json:"userCA,omitempty"`

	// key is one lasting key of every login that only the proxy reads.
	// +optional
	Key *SSHKey `json:"key,omitempty"`

	// agentForwarding is Denied, or Permitted: then grants may permit the channel Agent. Whoever
	// is root on the server can use a forwarded agent while the session lasts.
	// +kubebuilder:default=Denied
	// +optional
	AgentForwarding SSHAgentForwarding `json:"agentForwarding,omitempty"`
}

// KeySecret names the Secret with the private key that the proxy holds: that of userCA or of
// key. It is empty if there is neither.
func (t *SSHTarget) KeySecret() string {
	switch {
	case t.UserCA != nil:
		return t.UserCA.SecretRef.Name
	case t.Key != nil:
		return t.Key.SecretRef.Name
	}
	return ""
}

// SSHUserCA is the authority that signs for the users of one server.
type SSHUserCA struct {
	// secretRef names a Secret of type kubernetes.io/ssh-auth in the same namespace with the
	// private key whose public half the server names as TrustedUserCAKeys. Use one authority
	// for each Target. The Secret carries the label `access.cardea.dev/target` with this
	// Target's name.
	// +required
	SecretRef ObjectName `json:"secretRef"`
}

// SSHKey is a lasting key held by the proxy.
type SSHKey struct {
	// secretRef names a Secret of type kubernetes.io/ssh-auth in the same namespace with a
	// private key that the server accepts for the logins. The Secret carries the label
	// `access.cardea.dev/target` with this Target's name.
	// +required
	SecretRef ObjectName `json:"secretRef"`
}

// SSHAgentForwarding is whether the agents of clients may be reached from a server.
// +kubebuilder:validation:Enum=Denied;Permitted
type SSHAgentForwarding string

// The values of SSHTarget.AgentForwarding.
const (
	SSHAgentDenied    SSHAgentForwarding = "Denied"
	SSHAgentPermitted SSHAgentForwarding = "Permitted"
)

// SSHChannel is what a client may open.
// +kubebuilder:validation:Enum=Exec;Shell;SFTP;LocalForward;RemoteForward;Agent
type SSHChannel string

// The channels (RFC 4254).
const (
	// SSHExec permits single commands; each is decided on.
	SSHExec SSHChannel = "Exec"
	// SSHShell permits shells in a terminal, as terminal says.
	SSHShell SSHChannel = "Shell"
	// SSHSFTP permits transfer of files by SFTP and scp; each operation is decided on.
	SSHSFTP SSHChannel = "SFTP"
	// SSHLocalForward permits connections from the server to the places of forwards (ssh -L).
	SSHLocalForward SSHChannel = "LocalForward"
	// SSHRemoteForward permits the server to listen at the places of listens (ssh -R).
	SSHRemoteForward SSHChannel = "RemoteForward"
	// SSHAgent permits agent forwarding, where the Target does too.
	SSHAgent SSHChannel = "Agent"
)

// SSHTerminal is what becomes of a shell in a terminal.
// +kubebuilder:validation:Enum=Gated;Raw
type SSHTerminal string

// The kinds of terminals.
const (
	// SSHGated is a shell of which each line is decided on.
	SSHGated SSHTerminal = "Gated"
	// SSHRaw is a terminal that is recorded, and not understood.
	SSHRaw SSHTerminal = "Raw"
)

// SSHPermissions is what a grant permits on an SSH Target.
//
// +kubebuilder:validation:XValidation:rule="('LocalForward' in self.channels) == has(self.forwards)",message="forwards must be set with channel LocalForward, and only then"
// +kubebuilder:validation:XValidation:rule="('RemoteForward' in self.channels) == has(self.listens)",message="listens must be set with channel RemoteForward, and only then"
// +kubebuilder:validation:XValidation:rule="!has(self.forcedCommand) || self.channels == ['Exec']",message="with forcedCommand the only channel is Exec"
type SSHPermissions struct {
	// logins are the accounts that may be used: some of the Target's. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?$`
	// +required
	Logins []string `json:"logins"`

	// channels are what may be opened, of Exec, Shell, SFTP, LocalForward, RemoteForward and
	// Agent; 1 to 6.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	// +required
	Channels []SSHChannel `json:"channels"`

	// terminal is Gated (the lines of a shell are decided on one by one, as commands are) or Raw
	// (terminals are recorded, and not understood).
	// +kubebuilder:default=Gated
	// +optional
	Terminal SSHTerminal `json:"terminal,omitempty"`

	// forcedCommand runs instead of whatever the client asks for, for example
	// "/usr/bin/backup --today".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	ForcedCommand string `json:"forcedCommand,omitempty"`

	// environment names the variables that the client may set, by globs; LANG and LC_* without
	// it. What the server makes of them is its own: AcceptEnv. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_*][A-Za-z0-9_*]*$`
	// +optional
	Environment []string `json:"environment,omitempty"`

	// forwards are the places to which the server may connect for the client, as HOST:PORT with
	// the host by glob and the port by number, for example ["db.internal:5432"]. They are
	// compared as the client writes them. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=259
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9_.*-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$`
	// +optional
	Forwards []string `json:"forwards,omitempty"`

	// listens are the places at which the server may listen for the client, as HOST:PORT, for
	// example ["localhost:8080"]. 1 to 32.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=259
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9_.*-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$`
	// +optional
	Listens []string `json:"listens,omitempty"`
}

// SSHMatch matches what a client of an SSH Target opens; fields that are set must all hold.
//
// +kubebuilder:validation:XValidation:rule="has(self.channels) || has(self.logins) || has(self.places)",message="at least one of channels, logins and places must be set"
type SSHMatch struct {
	// channels matches the channels of a grant, for example [LocalForward, Agent].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	// +optional
	Channels []SSHChannel `json:"channels,omitempty"`

	// logins matches the account by globs, for example ["root"].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Logins []string `json:"logins,omitempty"`

	// places matches HOST:PORT of a forward by globs, for example ["169.254.*:*"].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=259
	// +optional
	Places []string `json:"places,omitempty"`
}

// FileAccess is a kind of operation on files.
// +kubebuilder:validation:Enum=Read;Write;Delete;Rename;Link;Attributes;List
type FileAccess string

// The kinds of operations.
const (
	// FileRead opens a file to read.
	FileRead FileAccess = "Read"
	// FileWrite opens a file to write, or makes a folder.
	FileWrite FileAccess = "Write"
	// FileDelete removes a file or folder.
	FileDelete FileAccess = "Delete"
	// FileRename gives a file or folder another name.
	FileRename FileAccess = "Rename"
	// FileLink makes a link, symbolic or hard.
	FileLink FileAccess = "Link"
	// FileAttributes changes owner, mode, times or size.
	FileAttributes FileAccess = "Attributes"
	// FileList shows names, sizes and modes.
	FileList FileAccess = "List"
)

// FileMatch matches operations on files, by SFTP or scp.
//
// A pattern is an absolute path, in which "*" stands for any characters but a slash and "**"
// for any. Paths are those that the server resolved: without "..", and with symbolic links
// followed.
//
// +kubebuilder:validation:XValidation:rule="has(self.operations) || has(self.paths) || has(self.except)",message="at least one of operations, paths and except must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.paths) || !has(self.except)",message="at most one of paths and except may be set"
type FileMatch struct {
	// operations matches kinds of operations, of Read, Write, Delete, Rename, Link, Attributes
	// and List.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	// +optional
	Operations []FileAccess `json:"operations,omitempty"`

	// paths matches an operation of which one path is among these, for example
	// ["/etc/**", "/home/*/.ssh/**"].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^[/*]`
	// +optional
	Paths []string `json:"paths,omitempty"`

	// except matches an operation of which one path is not among these: with action Deny it is
	// the list of what may be touched.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^[/*]`
	// +optional
	Except []string `json:"except,omitempty"`
}
