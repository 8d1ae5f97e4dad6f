package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RuleAction is what happens to a command that a rule matches. Where several rules match,
// Deny wins over RequireApproval, that over Allow, that over Audit.
// +kubebuilder:validation:Enum=Deny;RequireApproval;Audit;Allow
type RuleAction string

// The actions of a CommandRule.
const (
	// ActionDeny refuses the command.
	ActionDeny RuleAction = "Deny"
	// ActionRequireApproval holds the command until humans approve it.
	ActionRequireApproval RuleAction = "RequireApproval"
	// ActionAudit lets the command pass and marks it in the recording.
	ActionAudit RuleAction = "Audit"
	// ActionAllow lets the command pass where the grant's access level would refuse it. It
	// never admits what cannot be parsed.
	ActionAllow RuleAction = "Allow"
)

// CommandRuleSpec says what happens to matching commands.
//
// +kubebuilder:validation:XValidation:rule="(self.action == 'RequireApproval') == has(self.approval)",message="approval must be set with action RequireApproval, and only then"
type CommandRuleSpec struct {
	// targetSelector selects Targets by label; `{}` selects all of the namespace, or of every
	// gate namespace for a rule in the root namespace.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist without"
	// +required
	TargetSelector metav1.LabelSelector `json:"targetSelector"`

	// match lists what the rule is about: items are alternatives, fields of an item must all
	// hold. 1 to 32.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +required
	Match []CommandMatch `json:"match"`

	// action is Deny, RequireApproval, Audit or Allow.
	// +required
	Action RuleAction `json:"action"`

	// approval says who approves, how many, and what the client does meanwhile.
	// +optional
	Approval *ApprovalTerms `json:"approval,omitempty"`

	// message is shown to the client when the rule refuses or holds a command, for example
	// "destructive statements on prod need a DBA"; at most 512 characters.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`
}

// CommandMatch matches commands of one protocol; kubernetes and shell together match what a
// request starts in a container, ssh and shell what a login starts on a host, ssh and files
// what it does to files there.
//
// +kubebuilder:validation:XValidation:rule="has(self.sql) != (has(self.kubernetes) || has(self.shell) || has(self.ssh) || has(self.files))",message="either sql, or others than sql must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.kubernetes) || !has(self.ssh) && !has(self.files)",message="kubernetes goes with shell alone"
// +kubebuilder:validation:XValidation:rule="!has(self.files) || !has(self.shell)",message="files and shell are of different commands: use two items"
type CommandMatch struct {
	// sql matches SQL statements, wherever in a command they stand: in a CTE, behind EXPLAIN
	// ANALYZE, in PREPARE or COPY.
	// +optional
	SQL *SQLMatch `json:"sql,omitempty"`

	// kubernetes matches requests to a Kubernetes API.
	// +optional
	Kubernetes *KubernetesMatch `json:"kubernetes,omitempty"`

	// shell matches programs that a command starts, in a container or on a host.
	// +optional
	Shell *ShellMatch `json:"shell,omitempty"`

	// ssh matches what a client of an SSH Target opens.
	// +optional
	SSH *SSHMatch `json:"ssh,omitempty"`

	// files matches operations on files of an SSH Target.
	// +optional
	Files *FileMatch `json:"files,omitempty"`
}

// ShellUnknown is what of the commands that are not understood a rule matches.
// +kubebuilder:validation:Enum=Any
type ShellUnknown string

// ShellUnknownAny matches every command that is not understood.
const ShellUnknownAny ShellUnknown = "Any"

// ShellMatch matches programs that a command starts, those within `sh -c`, pipes,
// substitutions and behind sudo, env, xargs and the like included.
//
// A pattern is a program and its arguments, separated by spaces, quoted where one has a
// space. In a word "*" stands for any characters; the word "**" for any number of words. A
// pattern of one word is about the program with whatever arguments. A rule that refuses,
// holds or marks takes a program without a slash for one in any folder, and what is not
// literal for whatever matches; a rule that allows, and except, for nothing: there "*" is
// not for a word that begins with "-", unless the pattern's does, nor for a path with "..".
//
// +kubebuilder:validation:XValidation:rule="[has(self.commands), has(self.except), has(self.unknown)].exists_one(x, x)",message="exactly one of commands, except and unknown must be set"
type ShellMatch struct {
	// commands matches a command that starts one of these, for example ["rm **", "systemctl restart *"].
	// With action Allow it admits interpreters that are given code, if all of them are among
	// these.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	Commands []string `json:"commands,omitempty"`

	// except matches a command of which not every program is among these, or that opens a file
	// by redirection, or is not understood: with action Deny it is the list of what may run.
	// Not with action Allow.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	Except []string `json:"except,omitempty"`

	// unknown is Any: every command that is not understood, which is refused without a rule
	// that allows or holds it.
	// +optional
	Unknown ShellUnknown `json:"unknown,omitempty"`
}

// SQLStatement is a kind of SQL statement, named after its leading keyword.
// +kubebuilder:validation:Enum=Select;Insert;Update;Delete;Merge;Truncate;Copy;Create;Alter;Drop;Rename;Comment;Grant;Revoke;Call;Do;Execute;Prepare;Deallocate;Declare;Fetch;Close;Explain;Show;Set;Reset;Discard;Begin;Commit;Rollback;Savepoint;Listen;Unlisten;Notify;Lock;Vacuum;Analyze;Cluster;Reindex;Refresh;Checkpoint;Load;Reassign;SecurityLabel;ImportForeignSchema
type SQLStatement string

// SQLGroup is a group of statement kinds.
// +kubebuilder:validation:Enum=Read;Write;Definition;Privilege;Session;Transaction;Administration
type SQLGroup string

// SQLWrites is a kind of write that a rule can match.
// +kubebuilder:validation:Enum=Any;Unfiltered
type SQLWrites string

// The kinds of writes.
const (
	// WritesAny matches INSERT, UPDATE, DELETE, MERGE, TRUNCATE and COPY FROM.
	WritesAny SQLWrites = "Any"
	// WritesUnfiltered matches UPDATE and DELETE without a WHERE clause, or with one that is
	// always true, and TRUNCATE.
	WritesUnfiltered SQLWrites = "Unfiltered"
)

// SQLMatch matches SQL statements; fields that are set must all hold.
//
// +kubebuilder:validation:XValidation:rule="has(self.statements) || has(self.groups) || has(self.writes) || has(self.relations) || has(self.functions) || has(self.expression)",message="at least one of statements, groups, writes, relations, functions and expression must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.objects) || has(self.statements) || has(self.groups)",message="objects only narrows statements or groups: set one of them too"
type SQLMatch struct {
	// statements matches kinds of statements, for example [Drop, Truncate].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Statements []SQLStatement `json:"statements,omitempty"`

	// groups matches groups of kinds, for example [Definition].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Groups []SQLGroup `json:"groups,omitempty"`

	// objects narrows statements to the kind of object they are about, for example
	// [Database, Role]; only with statements or groups.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:Pattern=`^[A-Z][A-Za-z]*$`
	// +optional
	Objects []string `json:"objects,omitempty"`

	// writes matches statements that change rows: Any, or Unfiltered for those without an
	// effective WHERE clause.
	// +optional
	Writes SQLWrites `json:"writes,omitempty"`

	// relations matches tables and views by SCHEMA.NAME globs, for example ["billing.*"]. A
	// relation whose schema is not known matches every schema.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=127
	// +kubebuilder:validation:items:Pattern=`^[^.]+\.[^.]+$`
	// +optional
	Relations []string `json:"relations,omitempty"`

	// functions matches functions and procedures by name globs, without schema, for example
	// ["pg_terminate_backend", "dblink*"].
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[^.]+$`
	// +optional
	Functions []string `json:"functions,omitempty"`

	// expression is a CEL expression over the command, for what the other fields cannot say;
	// docs/rules.md describes its variables. Where it fails, or exceeds its cost limit, a rule
	// that refuses, holds or marks applies, and one that allows does not. At most 2048
	// characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Expression string `json:"expression,omitempty"`
}

// WhilePending is what a client does while a command awaits approval.
// +kubebuilder:validation:Enum=Wait;Reject
type WhilePending string

// What a client does while a command awaits approval.
const (
	// PendingWait holds the client until the decision.
	PendingWait WhilePending = "Wait"
	// PendingReject returns an error that names the request; the very same command passes
	// once after approval.
	PendingReject WhilePending = "Reject"
)

// ApprovalTerms says who approves, how many, and what the client does meanwhile.
type ApprovalTerms struct {
	// required is how many distinct approvers must approve; 1 to 8.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	// +optional
	Required int32 `json:"required,omitempty"`

	// approvers are who may approve: users, groups, or ServiceAccounts that are named here.
	// The requester, the grant's subject and its creator never may. 1 to 32.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +required
	Approvers []Subject `json:"approvers"`

	// timeout is how long a request stays open, for example "10m"; 10s to 24h.
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="timeout must be between 10s and 24h, written like 90s or 10m"
	// +optional
	Timeout metav1.Duration `json:"timeout,omitzero"`

	// whilePending is Wait (the client waits) or Reject (the client gets an error that names
	// the request, and sends the same command again after approval).
	// +kubebuilder:default=Wait
	// +optional
	WhilePending WhilePending `json:"whilePending,omitempty"`

	// inTransaction is the same inside an open transaction, where waiting holds locks.
	// +kubebuilder:default=Reject
	// +optional
	InTransaction WhilePending `json:"inTransaction,omitempty"`
}

// CommandRule denies, holds, marks or admits commands.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cmdrule,categories=cardea
// +kubebuilder:printcolumn:name="ACTION",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="TARGETS",type=integer,JSONPath=`.status.targets`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type CommandRule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared rule.
	// +required
	Spec CommandRuleSpec `json:"spec"`

	// status is written by the operator alone.
	// +optional
	Status RuleStatus `json:"status,omitzero"`
}

// CommandRuleList is a list of CommandRules.
//
// +kubebuilder:object:root=true
type CommandRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []CommandRule `json:"items"`
}
