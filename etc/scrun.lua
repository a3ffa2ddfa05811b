function slurm_scrun_stage_in() scrun.stage_in() return slurm.SUCCESS end
function slurm_scrun_stage_out() scrun.stage_out() return slurm.SUCCESS end
return slurm.SUCCESS
