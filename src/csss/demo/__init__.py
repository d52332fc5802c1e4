"""The whole product for a newcomer: demo people and scans, a mail catcher, one port."""
