from reasoner_rm.cli import main

main()
