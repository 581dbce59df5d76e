# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of each cmdlet that Lamplighter uses, as Microsoft documents them; a name that is not here is a typo.

https://learn.microsoft.com/powershell/module/netsecurity/, .../nettcpip/, .../scheduledtasks/, .../cimcmdlets/,
.../microsoft.powershell.management/ and .../microsoft.powershell.utility/ (?view=powershell-5.1 for the last three)
"""

from __future__ import annotations

import re

COMMON = {"ErrorAction", "WarningAction", "Verbose", "Debug", "ErrorVariable", "WarningVariable", "OutVariable"}
_DOCUMENTED = """
New-NetFirewallRule
    PolicyStore GPOSession Name DisplayName Description Group Enabled Profile Platform Direction Action
    EdgeTraversalPolicy LooseSourceMapping LocalOnlyMapping Owner LocalAddress RemoteAddress Protocol LocalPort
    RemotePort IcmpType DynamicTarget Program Package Service InterfaceAlias InterfaceType LocalUser RemoteUser
    RemoteMachine Authentication Encryption OverrideBlockRules RemoteDynamicKeywordAddresses CimSession
    ThrottleLimit AsJob WhatIf Confirm
Set-NetFirewallRule
    PolicyStore GPOSession Name DisplayName Description Group Enabled Profile Platform Direction Action
    EdgeTraversalPolicy LooseSourceMapping LocalOnlyMapping Owner LocalAddress RemoteAddress Protocol LocalPort
    RemotePort IcmpType DynamicTarget Program Package Service InterfaceAlias InterfaceType LocalUser RemoteUser
    RemoteMachine Authentication Encryption OverrideBlockRules RemoteDynamicKeywordAddresses CimSession
    ThrottleLimit AsJob WhatIf Confirm NewDisplayName PassThru
Get-NetFirewallRule
    All Name DisplayName Description Group DisplayGroup Enabled Direction Action EdgeTraversalPolicy PolicyStore
    GPOSession Owner PrimaryStatus Status TracePolicyStore CimSession ThrottleLimit AsJob
Remove-NetFirewallRule
    All Name DisplayName Description Group DisplayGroup Enabled Direction Action PolicyStore GPOSession Owner
    TracePolicyStore PassThru CimSession ThrottleLimit AsJob WhatIf Confirm
Get-NetFirewallPortFilter
    All PolicyStore GPOSession AssociatedNetFirewallRule AssociatedNetIPsecRule CimSession ThrottleLimit AsJob
    Protocol DynamicTarget
Get-NetFirewallAddressFilter
    All PolicyStore GPOSession AssociatedNetFirewallRule AssociatedNetIPsecRule CimSession ThrottleLimit AsJob
Get-NetFirewallInterfaceFilter
    All PolicyStore GPOSession AssociatedNetFirewallRule AssociatedNetIPsecRule CimSession ThrottleLimit AsJob
Get-NetFirewallApplicationFilter
    All PolicyStore GPOSession AssociatedNetFirewallRule AssociatedNetIPsecRule CimSession ThrottleLimit AsJob
    Program Package
New-NetFirewallHyperVRule
    DisplayName Name RulePriority Direction VMCreatorId Protocol LocalAddresses LocalPorts RemoteAddresses
    RemotePorts Action Enabled Profiles CimSession ThrottleLimit AsJob WhatIf Confirm
Get-NetFirewallHyperVRule
    All Name DisplayName Direction VMCreatorId Protocol Action Enabled EnforcementStatus PolicyStoreSourceType
    PolicyStore CimSession ThrottleLimit AsJob
Remove-NetFirewallHyperVRule
    All Name DisplayName Direction VMCreatorId Protocol Action Enabled EnforcementStatus PolicyStoreSourceType
    PolicyStore PassThru CimSession ThrottleLimit AsJob WhatIf Confirm
Get-NetIPAddress
    IPAddress InterfaceIndex InterfaceAlias AddressFamily Type PrefixLength PrefixOrigin SuffixOrigin
    AddressState ValidLifetime PreferredLifetime SkipAsSource PolicyStore AssociatedIPInterface
    IncludeAllCompartments CimSession ThrottleLimit AsJob
Get-NetTCPConnection
    LocalAddress LocalPort RemoteAddress RemotePort State AppliedSetting OwningProcess CreationTime OffloadState
    CimSession ThrottleLimit AsJob
Get-CimInstance
    ClassName Filter Property Namespace Query QueryDialect KeyOnly OperationTimeoutSec ResourceUri Shallow
    CimSession ComputerName InputObject
Get-ScheduledTask
    TaskName TaskPath Cluster CimSession ThrottleLimit AsJob
Register-ScheduledTask
    TaskName TaskPath Action Trigger Settings User Password RunLevel Description Xml Principal InputObject Force
    CimSession ThrottleLimit AsJob
Unregister-ScheduledTask
    TaskName TaskPath InputObject PassThru CimSession ThrottleLimit AsJob WhatIf Confirm
Get-ItemProperty
    Path LiteralPath Name Filter Include Exclude Credential UseTransaction
Get-Content
    Path LiteralPath Encoding Raw Tail TotalCount ReadCount Wait Delimiter Stream Filter Include Exclude Force
    Credential UseTransaction
Set-Content
    Path LiteralPath Value Encoding NoNewline PassThru Stream Filter Include Exclude Force Credential WhatIf
    Confirm UseTransaction
New-Item
    Path Name ItemType Value Force Credential WhatIf Confirm UseTransaction
Remove-Item
    Path LiteralPath Recurse Force Stream Filter Include Exclude Credential WhatIf Confirm UseTransaction
Get-FileHash
    Path LiteralPath InputStream Algorithm
Invoke-WebRequest
    Uri OutFile UseBasicParsing Method Body Headers ContentType TimeoutSec UserAgent Credential Proxy
    ProxyCredential ProxyUseDefaultCredentials UseDefaultCredentials MaximumRedirection PassThru SessionVariable
    WebSession Certificate CertificateThumbprint DisableKeepAlive InFile TransferEncoding
Start-Process
    FilePath ArgumentList Wait PassThru NoNewWindow WindowStyle WorkingDirectory Verb Credential LoadUserProfile
    UseNewEnvironment RedirectStandardError RedirectStandardInput RedirectStandardOutput
Stop-Process
    Id Name InputObject Force PassThru WhatIf Confirm
Wait-Process
    Id Name InputObject Timeout
Restart-Service
    Name DisplayName InputObject Force PassThru Include Exclude WhatIf Confirm
Select-Object
    Property ExcludeProperty ExpandProperty First Last Skip SkipLast Unique Wait Index InputObject
Select-String
    Pattern Path LiteralPath InputObject SimpleMatch CaseSensitive Quiet List Include Exclude NotMatch
    AllMatches Encoding Context
Where-Object
    FilterScript InputObject Property Value EQ NE GT LT GE LE Like NotLike Match NotMatch Contains NotContains
    In NotIn Is IsNot CEQ CNE CLike CMatch
ConvertTo-Json
    InputObject Depth Compress
"""
PARAMETERS = {
    text.split()[0]: {*text.split()[1:], *COMMON} for text in re.split(r"\n(?=\S)", _DOCUMENTED) if text.strip()
}
# Those that take no value.
SWITCHES = {"AsJob", "All", "Compress", "Confirm", "Force", "Like", "NoNewWindow", "PassThru", "Raw", "Recurse"}
SWITCHES |= {"UseBasicParsing", "Wait", "WhatIf"}
CHOICES = {
    "Action": {"Allow", "Block"},
    "AddressFamily": {"IPv4", "IPv6"},
    "Algorithm": {"SHA1", "SHA256", "SHA384", "SHA512", "MD5"},
    "Direction": {"Inbound", "Outbound"},
    "Enabled": {"True", "False"},
    "Encoding": {"UTF8", "Unicode", "ASCII", "Default", "OEM"},
    "ErrorAction": {"Stop", "Continue", "SilentlyContinue", "Ignore"},
    "ItemType": {"Directory", "File"},
    "Profile": {"Any", "Domain", "Private", "Public"},
    "State": {"Listen", "Established", "Bound"},
}
